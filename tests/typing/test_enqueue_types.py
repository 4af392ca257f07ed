"""Only type-checked (mypy), never run: what a caller's editor knows about enqueueing."""

from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession

from uow import TaskClient, TaskContext, TaskHandle, TaskRef, task


@task("typed.double")
async def double(ctx: TaskContext, n: int, times: int = 2) -> int:
    assert_type(ctx["task"].attempt, int)
    async with ctx["db"].get_session() as session:
        assert_type(session, AsyncSession)
    return times * n


async def enqueue(session: AsyncSession, client: TaskClient) -> None:
    handle = await double.enqueue(session, n=1)
    assert_type(handle, TaskHandle[int])
    assert_type(await handle.result(), int)
    assert_type(await double.enqueue(session, 1, times=3), TaskHandle[int])
    assert_type(await double.options(delay=1).enqueue(session, n=1), TaskHandle[int])
    assert_type(await client.enqueue(double, n=1), TaskHandle[int])
    assert_type(await client.enqueue(double.options(user_id=1), n=1), TaskHandle[int])
    assert_type(await client.enqueue("typed.double", n=1), TaskHandle[Any])
    assert_type(await client.enqueue(TaskRef("typed.double"), n=1), TaskHandle[Any])


async def refuse(session: AsyncSession, client: TaskClient) -> None:
    await double.enqueue(session, n="1")  # type: ignore[arg-type]
    await double.enqueue(session)  # type: ignore[call-arg]
    await double.enqueue(session, n=1, m=2)  # type: ignore[call-arg]
    await client.enqueue(double, n="1")  # type: ignore[call-overload]
    double.options(dealy=1)  # type: ignore[call-arg]
    double.options(priority="high")  # type: ignore[arg-type]


async def unit_test(ctx: TaskContext) -> None:
    assert_type(await double(ctx, 1), int)
