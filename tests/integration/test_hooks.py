"""Hooks with a `yield`, which are around the writing."""

import logging
from collections.abc import Generator, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.hooks import hooks_as_they_are
from uow import Database, Enqueuing, InvalidOptions, TaskClient, TaskContext, on_enqueue, task
from uow.tasks.registry import Registry

KINDS: dict[str, Any] = {"with a row": {}, "rowless": {"durable": False}}

Around = Generator[dict[str, str] | None, Sequence[UUID], None]


@pytest.fixture(autouse=True)
def _no_hooks_stay() -> Iterator[None]:
    with hooks_as_they_are():
        yield


@pytest.fixture(params=KINDS)
def look(request: pytest.FixtureRequest, registry: Registry) -> Any:
    @task("look", registry=registry, **KINDS[request.param])
    async def look(ctx: TaskContext) -> None: ...

    return look


async def test_one_gets_the_ids_of_what_was_written_and_comes_after_all_others(
    client: TaskClient, look: Any
) -> None:
    told: list[object] = []

    @on_enqueue
    def around(enqueuing: Enqueuing) -> Around:
        told.append(dict(enqueuing.headers))
        told.append((yield {"around": "1"}))

    @on_enqueue
    def inner(enqueuing: Enqueuing) -> Around:
        told.append(dict(enqueuing.headers))
        told.append((yield None))

    @on_enqueue
    def plain(enqueuing: Enqueuing) -> dict[str, str]:
        return {"plain": "1"}

    handles = await client.enqueue_many(look, [{}, {}])
    ids = [handle.id for handle in handles]
    assert told == [{"plain": "1"}, {"plain": "1", "around": "1"}, ids, ids]


async def test_of_a_unique_key_that_is_taken_it_gets_who_has_it(
    db: Database, client: TaskClient, registry: Registry
) -> None:
    told: list[Sequence[UUID]] = []

    @on_enqueue
    def around(enqueuing: Enqueuing) -> Around:
        told.append((yield None))

    @task("once", registry=registry)
    async def once(ctx: TaskContext) -> None: ...

    one = once.options(unique_key="k")
    first = await client.enqueue(one)
    async with db.get_session() as session:
        await one.enqueue(session)
    async with db.engine.begin() as connection:
        await one.enqueue(connection)
    assert [list(ids) for ids in told] == [[first.id]] * 3


async def test_one_that_yields_nothing_is_as_good_as_none(client: TaskClient, look: Any) -> None:
    @on_enqueue
    def around(enqueuing: Enqueuing) -> Around:
        if enqueuing.name != "look":
            yield None

    await client.enqueue(look)


async def test_it_hears_of_a_write_that_fails_and_cannot_swallow_that(
    db: Database, client: TaskClient, registry: Registry
) -> None:
    heard: list[str] = []

    @on_enqueue
    def swallows(enqueuing: Enqueuing) -> Around:
        try:
            yield None
        except Exception as error:
            heard.append(type(error).__name__)

    @task("look", registry=registry)
    async def look(ctx: TaskContext) -> None: ...

    await db.execute_once(text("ALTER TABLE task ADD CHECK (name <> 'look')"), {})
    with pytest.raises(Exception, match="look"):
        await client.enqueue(look)
    assert len(heard) == 1


async def test_what_it_raises_before_its_yield_lets_nothing_be_written_and_the_others_hear(
    db: Database, client: TaskClient, look: Any
) -> None:
    heard: list[str] = []

    @on_enqueue
    def outer(enqueuing: Enqueuing) -> Around:
        try:
            yield None
        except LookupError as error:
            heard.append(str(error))
            raise

    @on_enqueue
    def fails(enqueuing: Enqueuing) -> Around:
        if enqueuing.count:
            raise LookupError("no tenant here")
        yield None

    with pytest.raises(LookupError, match="no tenant here"):
        await client.enqueue(look)
    assert heard == ["no tenant here"]
    assert not (await db.execute_once(text("SELECT 1 FROM task"), {})).all()


@pytest.mark.parametrize("fault", ["raises", "yields twice"])
async def test_what_it_does_wrong_after_its_yield_is_logged_and_changes_nothing(
    client: TaskClient, look: Any, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    @on_enqueue
    def outer(enqueuing: Enqueuing) -> Around:
        yield None
        ended.append("outer")

    @on_enqueue
    def wrong(enqueuing: Enqueuing) -> Around:
        yield None
        if fault == "raises":
            raise LookupError("too late")
        yield None

    with caplog.at_level(logging.ERROR):
        await client.enqueue(look)
    (told,) = [one.getMessage() for one in caplog.records if one.name == "uow.tasks.hooks"]
    assert "has failed after its yield; what was written stays" in told
    assert ended == ["outer"]


async def test_headers_that_are_none_are_refused_and_the_hook_ends(
    client: TaskClient, look: Any
) -> None:
    ended: list[type[BaseException]] = []

    @on_enqueue
    def around(enqueuing: Enqueuing) -> Any:
        try:
            yield {"n": 1}
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(InvalidOptions, match=r"around .* has returned headers with \('n', 1\)"):
        await client.enqueue(look)
    assert ended == [InvalidOptions]
