"""What travels with a task: given, inherited, added by hooks, written by hand."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asyncpg import CheckViolationError
from sqlalchemy import text

from tests.conftest import Drain
from tests.hooks import hooks_as_they_are
from uow import (
    Database,
    Enqueuing,
    InvalidOptions,
    TaskClient,
    TaskContext,
    TaskRef,
    on_enqueue,
    task,
)
from uow.tasks import headers
from uow.tasks.registry import Registry

KINDS: dict[str, Any] = {"atomic": {}, "separate": {"atomic": False}, "rowless": {"durable": False}}
PUT = text("INSERT INTO task (name, headers) VALUES ('look', CAST(:headers AS json))")


@pytest.fixture(autouse=True)
def _no_hooks_stay() -> Iterator[None]:
    with hooks_as_they_are():
        yield


@pytest.fixture
def seen(registry: Registry) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []

    @task("look", registry=registry)
    async def look(ctx: TaskContext) -> None:
        found.append(dict(ctx["task"].headers))

    return found


@pytest.mark.parametrize("kind", KINDS)
async def test_they_reach_the_function_and_are_not_its_to_change(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    @task("look", max_tries=1, registry=registry, **KINDS[kind])
    async def look(ctx: TaskContext, n: int) -> dict[str, str]:
        with pytest.raises(TypeError):
            ctx["task"].headers["n"] = str(n)  # type: ignore[index]
        return dict(ctx["task"].headers)

    given = {"tenant": "acme", "note": "", "größe": "ü\n", "json": '{"a": [1]}'}
    with_headers = await client.enqueue(look.options(headers=given), n=1)
    without = await client.enqueue(look, 2)
    await drain()
    assert await with_headers.result(5) == given
    assert await without.result(5) == {}


async def test_a_session_writes_them_in_its_own_transaction_and_a_view_shows_them(
    db: Database, client: TaskClient, seen: list[dict[str, str]], drain: Drain
) -> None:
    async with db.get_session() as session:
        handles = await TaskRef("look").options(headers={"a": "1"}).enqueue_many(session, [{}, {}])
    view = await client.get(handles[0].id)
    assert view is not None
    assert view.headers == {"a": "1"}
    await drain()
    assert seen == [{"a": "1"}] * 2


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_task_enqueues_inherits_them_unless_others_are_given(
    client: TaskClient, registry: Registry, seen: list[dict[str, str]], drain: Drain, kind: str
) -> None:
    look = registry["look"]

    @task("parent", max_tries=1, registry=registry, **KINDS[kind])
    async def parent(ctx: TaskContext) -> None:
        await client.enqueue(look)
        await client.enqueue(look.options(headers={}))
        await client.enqueue(look.options(headers={"tenant": "other"}))
        await asyncio.create_task(another())
        ctx["task"].on_commit(another)

    async def another() -> None:
        await client.enqueue(look)

    await client.enqueue(parent.options(headers={"tenant": "acme"}))
    for _ in range(2):
        await drain()
    acme = {"tenant": "acme"}
    assert sorted(map(str, seen)) == sorted(map(str, [acme, {}, {"tenant": "other"}, acme, acme]))
    assert headers._inherited.get() == {}


async def test_hooks_add_and_what_is_given_wins(
    client: TaskClient, registry: Registry, seen: list[dict[str, str]], drain: Drain
) -> None:
    asked: list[Enqueuing] = []

    @on_enqueue
    def first(enqueuing: Enqueuing) -> dict[str, str]:
        asked.append(enqueuing)
        return {"request-id": "r1", "tenant": "hook's"}

    @on_enqueue
    def second(enqueuing: Enqueuing) -> None:
        asked.append(enqueuing)

    look = registry["look"]
    await client.enqueue_many(look.options(headers={"tenant": "given"}, user_id=7), [{}, {}, {}])
    await drain()
    assert seen == [{"request-id": "r1", "tenant": "given"}] * 3
    assert [(one.name, one.user_id, one.count) for one in asked] == [("look", "7", 3)] * 2
    assert asked[1].headers == {"request-id": "r1", "tenant": "given"}


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"n": 1}, "@on_enqueue: .*adds .* has returned headers with"),
        (["n"], "no dict of text by text"),
        ({"n": "x" * 5000}, "at most 4,096 travel"),
    ],
)
async def test_a_hook_that_returns_something_else_lets_nothing_be_written(
    db: Database, client: TaskClient, seen: list[dict[str, str]], returned: Any, said: str
) -> None:
    @on_enqueue
    def adds(_: Enqueuing) -> Any:
        return returned

    with pytest.raises(InvalidOptions, match=said):
        await client.enqueue("look")
    assert not (await db.execute_once(text("SELECT 1 FROM task"), {})).all()


async def test_what_a_hook_raises_is_raised_to_who_enqueues(
    db: Database, client: TaskClient, seen: list[dict[str, str]]
) -> None:
    @on_enqueue
    def fails(_: Enqueuing) -> dict[str, str]:
        raise LookupError("no tenant here")

    async with db.get_session() as session:
        with pytest.raises(LookupError, match="no tenant here"):
            await TaskRef("look").enqueue(session)
    assert not (await db.execute_once(text("SELECT 1 FROM task"), {})).all()


async def test_all_of_them_together_are_limited(client: TaskClient, registry: Registry) -> None:
    @on_enqueue
    def much(_: Enqueuing) -> dict[str, str]:
        return {"a": "x" * 3000}

    with pytest.raises(InvalidOptions, match="look: headers of 6,.* at most 4,096"):
        await client.enqueue(TaskRef("look").options(headers={"b": "x" * 3000}))


async def test_sql_may_set_them(db: Database, seen: list[dict[str, str]], drain: Drain) -> None:
    await db.execute_once(PUT, {"headers": '{"tenant": "by hand"}'})
    await drain()
    assert seen == [{"tenant": "by hand"}]


@pytest.mark.parametrize(
    "headers", ['{"n": 1}', '["n"]', "7", '{"n": null}', '{"n": "%s"}' % ("x" * 4100)]
)
async def test_sql_cannot_set_what_are_none(db: Database, headers: str) -> None:
    with pytest.raises(CheckViolationError):
        await db.execute_once(PUT, {"headers": headers})


@pytest.mark.parametrize("written", [{"n": 1}, ["n"], "n", {"n": "x" * 4100}])
async def test_what_a_stranger_writes_into_redis_as_headers_fits_no_function(
    client: TaskClient, registry: Registry, drain: Drain, settings: Any, written: Any
) -> None:
    called: list[object] = []

    @task("rowless", durable=False, registry=registry)
    async def rowless(ctx: TaskContext) -> None:
        called.append(ctx["task"].headers)

    job = await client.redis.enqueue_job(
        "rowless", _queue_name=settings.queue, **{"$headers": written}
    )
    assert job is not None
    await drain()
    assert called == []
