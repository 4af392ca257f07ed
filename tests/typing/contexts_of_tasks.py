"""Only type-checked, by several checkers: what a context may be, and what a task function is."""

from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from uow import CpuContext, SyncTaskContext, TaskClient, TaskContext, TaskHandle, task


class Client:
    async def get(self) -> str:
        return "there"


class Ctx(TaskContext):
    http: Client


class SyncCtx(SyncTaskContext):
    path: str


@task("typed.own_context")
async def own_context(ctx: Ctx, n: int, times: int = 2) -> str:
    async with ctx["db"].get_session() as session:
        assert_type(session, AsyncSession)
    await ctx["task"].report(done=1)
    return await ctx["http"].get()


@task("typed.sync")
def sync(ctx: SyncTaskContext, n: int) -> int:
    with ctx["db"].get_session() as session:
        assert_type(session, Session)
    ctx["task"].report(done=1)
    assert_type(ctx["task"].attempt, int)
    return n


@task("typed.sync_own_context", atomic=False)
def sync_own_context(ctx: SyncCtx, n: int) -> str:
    return ctx["path"] * n


@task("typed.cpu", process=True)
def cpu(ctx: CpuContext, n: int) -> int:
    return n + ctx["job_try"]


@task("typed.wide")
async def wide(ctx: object, n: int) -> int:
    return n


@task("typed.with_any")
async def with_any(ctx: Ctx, n: int, payload: dict[str, Any]) -> int:
    return n


async def ask(session: AsyncSession, client: TaskClient, ctx: Ctx, sync_ctx: SyncCtx) -> None:
    assert_type(await own_context.enqueue(session, n=1), TaskHandle[str])
    assert_type(await sync.enqueue(session, n=1), TaskHandle[int])
    assert_type(await client.enqueue(sync_own_context, n=1), TaskHandle[str])
    assert_type(await cpu.options(priority=1).enqueue(session, 1), TaskHandle[int])
    assert_type(await wide.enqueue(session, n=1), TaskHandle[int])
    assert_type(await with_any.enqueue(session, n=1, payload={"a": object()}), TaskHandle[int])
    assert_type(await own_context(ctx, 1), str)
    assert_type(sync(sync_ctx, 1), int)
    await sync.enqueue(session, n="1")  # type: ignore[arg-type]


@task("typed.anothers_session")  # type: ignore[arg-type]
def anothers_session(ctx: TaskContext) -> None: ...


@task("typed.no_context")  # type: ignore[arg-type, type-var]
def no_context(n: int) -> None: ...


@task("typed.no_session", process=True)
def no_session(ctx: CpuContext) -> object:
    return ctx["db"]  # type: ignore[typeddict-item]
