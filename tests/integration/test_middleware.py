"""What is around each attempt's function: once, inside the timeout, part of the unit of work."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from uow import (
    Backoff,
    CallNext,
    Database,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskState,
    middleware,
    task,
)
from uow.tasks.registry import Registry

KINDS: dict[str, Any] = {"atomic": {}, "separate": {"atomic": False}, "rowless": {"durable": False}}

tenant: ContextVar[str] = ContextVar("tenant", default="nobody's")


@pytest.fixture(autouse=True)
async def effect(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})


async def effects(db: Database) -> list[str]:
    return list((await db.execute_once(text("SELECT what FROM effect ORDER BY 1"), {})).scalars())


@pytest.mark.parametrize("kind", KINDS)
async def test_the_first_is_the_outermost_and_each_is_called_once_per_attempt(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    seen: list[str] = []

    @middleware(registry=registry)
    async def outer(ctx: TaskContext, call_next: CallNext) -> object:
        seen.append(f"outer of {ctx['task'].attempt}")
        return f"outer {await call_next()}"

    @middleware(registry=registry)
    async def inner(ctx: TaskContext, call_next: CallNext) -> object:
        seen.append("inner")
        return f"inner {await call_next()}"

    @task("echo", backoff=Backoff(base=0), registry=registry, **KINDS[kind])
    async def echo(ctx: TaskContext, n: int) -> str:
        seen.append("function")
        if ctx["task"].attempt == 1:
            raise ValueError("again")
        return str(n)

    handle = await client.enqueue(echo, 7)
    for _ in range(2):
        await drain()
    assert await handle.result(5) == "outer inner 7"
    assert seen == ["outer of 1", "inner", "function", "outer of 2", "inner", "function"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_it_sets_reaches_the_function_and_nobody_else(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    @middleware(registry=registry)
    async def set_tenant(ctx: TaskContext, call_next: CallNext) -> object:
        assert tenant.get() == "nobody's"
        tenant.set(ctx["task"].headers["tenant"])
        return await call_next()

    @task("whose", max_tries=1, registry=registry, **KINDS[kind])
    async def whose(ctx: TaskContext) -> str:
        await asyncio.sleep(0)
        return tenant.get()

    handles = [
        await client.enqueue(whose.options(headers={"tenant": name})) for name in ("a", "b", "c")
    ]
    await drain()
    assert [await handle.result(5) for handle in handles] == ["a", "b", "c"]


async def test_its_sessions_join_the_unit_of_work(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @middleware(registry=registry)
    async def audit(ctx: TaskContext, call_next: CallNext) -> object:
        async with ctx["db"].get_session() as session:
            await session.execute(text("INSERT INTO effect VALUES ('before')"))
        result = await call_next()
        async with ctx["db"].get_session() as session:
            await session.execute(text("INSERT INTO effect VALUES ('after')"))
        return result

    @task("audited", max_tries=1, registry=registry)
    async def audited(ctx: TaskContext, fails: bool) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(text("INSERT INTO effect VALUES ('function')"))
        if fails:
            raise ValueError("so nothing stays")

    await client.enqueue(audited, fails=True)
    await drain()
    assert await effects(db) == []
    await client.enqueue(audited, fails=False)
    await drain()
    assert await effects(db) == ["after", "before", "function"]


@pytest.mark.parametrize("kind", KINDS)
async def test_it_may_swallow_a_failure_and_replace_the_result_which_is_validated(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    @middleware(registry=registry)
    async def forgive(ctx: TaskContext, call_next: CallNext) -> object:
        try:
            return await call_next()
        except ValueError:
            return 0
        except KeyError:
            return "no number"

    @task("fails", max_tries=1, registry=registry, **KINDS[kind])
    async def fails(ctx: TaskContext, well: bool) -> int:
        raise ValueError if well else KeyError

    forgiven = await client.enqueue(fails, well=True)
    refused = await client.enqueue(fails, well=False)
    await drain()
    assert await forgiven.result(5) == 0
    with pytest.raises(TaskFailed, match="InvalidResult"):
        await refused.result(5)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_it_raises_is_the_tasks_failure_and_a_second_call_is_refused(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    calls: list[str] = []

    @middleware(registry=registry)
    async def twice(ctx: TaskContext, call_next: CallNext) -> object:
        await call_next()
        return await call_next()

    @task("once", max_tries=1, registry=registry, **KINDS[kind])
    async def once(ctx: TaskContext) -> None:
        calls.append("function")

    handle = await client.enqueue(once)
    await drain()
    with pytest.raises(TaskFailed, match=r"middleware .*twice .* has called call_next\(\) twice"):
        await handle.result(5)
    assert calls == ["function"]


async def test_it_need_not_call_the_function(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @middleware(registry=registry)
    async def closed(ctx: TaskContext, call_next: CallNext) -> object:
        return "closed today"

    @task("never", registry=registry)
    async def never(ctx: TaskContext) -> str:
        raise AssertionError("it is closed")

    handle = await client.enqueue(never)
    await drain()
    assert await handle.result(5) == "closed today"


async def test_it_is_inside_the_timeout_and_after_the_arguments(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    called: list[str] = []

    @middleware(registry=registry)
    async def hangs(ctx: TaskContext, call_next: CallNext) -> object:
        called.append(ctx["task"].name)
        return await asyncio.Event().wait()

    @task("late", timeout=0.1, max_tries=1, registry=registry)
    async def late(ctx: TaskContext) -> None: ...

    handle = await client.enqueue(late)
    await drain()
    with pytest.raises(TaskFailed, match="TaskTimeout: late ran longer than 0.1 s"):
        await handle.result(5)
    assert await handle.status() == TaskState.FAILED
    assert called == ["late"]
