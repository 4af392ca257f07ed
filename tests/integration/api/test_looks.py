"""Streams of events tell what is new and what has started: by one look for all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.integration.api.test_event_streams import SECONDS, Reader, following, listening
from uow import Database, TaskClient
from uow.api import looks, streams
from uow.api.looks import Looks
from uow.api.streams import Streams
from uow.broker.redis import RedisClient
from uow.db.following import FollowedTask, by_ids
from uow.questions import following as following_tasks
from uow.questions.following import Following


async def change(db: Database, statement: str, **values: object) -> None:
    async with db.get_session() as session:
        await session.execute(text(statement), values)


async def start(db: Database, task_id: UUID) -> None:
    await change(
        db, "UPDATE task SET state = 'running', attempt = attempt + 1 WHERE id = :id", id=task_id
    )


@pytest.fixture(autouse=True)
def _no_snapshot_of_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BEAT_SECONDS", 60.0)


async def told(reader: Reader, task_id: UUID, state: str) -> str:
    """By which event it is told that a task has come to a state."""
    while True:
        event, tasks = await reader.next()
        assert event != "end"
        if any((task["id"], task["state"]) == (str(task_id), state) for task in tasks):
            return event


@asynccontextmanager
async def begun(api: httpx.AsyncClient, app: FastAPI, query: str = "") -> AsyncIterator[Reader]:
    """A stream whose process has taken a look and listens: the first snapshots are over."""
    async with following(api, query) as reader:
        await reader.next()
        async with asyncio.timeout(SECONDS):
            while app.state.uow_streams._looks._floor is None:
                await asyncio.sleep(0.01)
        yield reader


async def test_what_is_asked_for_and_what_starts_is_told(
    api: httpx.AsyncClient, app: FastAPI, client: TaskClient, db: Database
) -> None:
    old = await client.enqueue("math.add", a=1)
    async with begun(api, app) as reader:
        new = await client.enqueue("math.add", a=2)
        assert await told(reader, new.id, "queued") in ("changed", "snapshot")
        await start(db, new.id)
        assert await told(reader, new.id, "running") == "changed"
        await start(db, old.id)
        assert await told(reader, old.id, "running") == "changed"
        await client.cancel(old.id)
        assert await told(reader, old.id, "cancelled") == "settled"


async def test_a_stream_of_one_task_tells_that_it_has_started_and_looks_at_no_other(
    api: httpx.AsyncClient, app: FastAPI, client: TaskClient, db: Database, redis: RedisClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[tuple[int, list[UUID]]] = []
    look = following_tasks.look

    async def watched(db: Database, most: int, ids: Sequence[UUID]) -> object:
        asked.append((most, [*ids]))
        return await look(db, most, ids)

    monkeypatch.setattr(looks, "look", watched)
    handle = await client.enqueue("math.add", a=1)
    async with following(api, f"?task={handle.id}") as reader:
        await reader.next()
        await listening(app, redis)  # and with that begins anew
        await start(db, handle.id)
        await told(reader, handle.id, "running")
        await change(db, "UPDATE task SET state = 'retrying'")
        assert await told(reader, handle.id, "retrying") == "changed"
    assert asked[-1] == (0, [handle.id])


async def test_a_stream_of_a_user_tells_of_a_new_task_of_that_user_alone(
    api: httpx.AsyncClient, app: FastAPI
) -> None:
    async with begun(api, app, "?user=ann") as reader:
        ids = {}
        for user in ("ben", "ann"):
            body = {"name": "math.add", "args": {"a": 1}, "user_id": user}
            ids[user] = (await api.post("/tasks", json=body)).json()["id"]
        tasks = list[dict[str, Any]]()
        while not tasks:
            _, tasks = await reader.next()
        assert [task["id"] for task in tasks] == [ids["ann"]]


async def test_however_many_streams_there_are_one_looks_and_without_one_nobody_does(
    db: Database, redis: RedisClient, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "LOOK_SECONDS", 0.01)
    ours, now, most = Streams(db, redis), 0, 0
    look, enough = following_tasks.look, asyncio.Event()
    count = iter(range(5))

    async def counted(db: Database, number: int, ids: Sequence[UUID]) -> object:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if next(count, None) is None:
            enough.set()
        try:
            return await look(db, number, ids)
        finally:
            now -= 1

    monkeypatch.setattr(looks, "look", counted)
    followed: Iterator[Following] = iter([Following(user=str(n)) for n in range(20)])
    async with ours.following(Following()):
        blocks = [ours.following(what) for what in followed]
        for block in blocks:
            await block.__aenter__()
        await asyncio.wait_for(enough.wait(), SECONDS)
        for block in blocks:
            await block.__aexit__(None, None, None)
    assert most == 1
    assert ours._looks._task is None
    assert not ours._looks._known


class TestALook:
    """Without its loop."""

    @pytest.fixture
    def dealt(self) -> list[UUID | None]:
        return []

    @pytest.fixture
    def ours(
        self, db: Database, dealt: list[UUID | None], monkeypatch: pytest.MonkeyPatch
    ) -> Looks:
        def deal_out(tasks: Sequence[FollowedTask]) -> None:
            dealt.extend(sorted(task.id for task in tasks))

        monkeypatch.setattr(looks, "NEWEST", 3)
        return Looks(db, lambda: True, deal_out, lambda: dealt.append(None))

    async def test_what_was_there_before_is_not_new(
        self, ours: Looks, db: Database, client: TaskClient, dealt: list[UUID | None]
    ) -> None:
        for n in range(3):
            await client.enqueue("math.add", a=n)
        await change(db, "UPDATE task SET created_at = now() - interval '1 h'")
        await ours.run_once()
        assert dealt == []

    async def test_what_comes_up_from_below_is_not_new(
        self, ours: Looks, db: Database, client: TaskClient, dealt: list[UUID | None]
    ) -> None:
        ids = [(await client.enqueue("math.add", a=n)).id for n in range(6)]
        await ours.run_once()
        dealt.clear()
        await change(db, "DELETE FROM task WHERE id = :id", id=ids[5])
        await ours.run_once()
        assert dealt == []
        new = await client.enqueue("math.add", a=7)
        await ours.run_once()
        assert dealt == [new.id]

    async def test_more_new_tasks_than_are_looked_at_are_a_gap(
        self, ours: Looks, client: TaskClient, dealt: list[UUID | None]
    ) -> None:
        await ours.run_once()
        await client.enqueue("math.add", a=0)
        await ours.run_once()
        assert None not in dealt
        for n in range(4):
            await client.enqueue("math.add", a=n)
        await ours.run_once()
        assert None in dealt

    async def test_an_older_task_is_watched_until_it_is_settled(
        self, ours: Looks, db: Database, client: TaskClient, dealt: list[UUID | None]
    ) -> None:
        old = (await client.enqueue("math.add", a=0)).id
        for n in range(4):
            await client.enqueue("math.add", a=n)
        ours.watch(await by_ids(db, [old]))
        await ours.run_once()
        dealt.clear()
        for _ in range(2):
            await start(db, old)
            await ours.run_once()
            await ours.run_once()
        assert dealt == [old, old]
        await client.cancel(old)
        await ours.run_once()
        assert dealt == [old] * 3
        assert not ours._watched.keys() & {old}

    async def test_what_is_told_while_it_is_read_is_not_told_as_it_was_before(
        self, ours: Looks, db: Database, client: TaskClient, dealt: list[UUID | None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        task_id = (await client.enqueue("math.add", a=0)).id
        await ours.run_once()
        dealt.clear()
        await start(db, task_id)
        look = following_tasks.look

        async def slow(db: Database, most: int, ids: Sequence[UUID]) -> object:
            read = await look(db, most, ids)
            await client.cancel(task_id)
            ours.watch(await by_ids(db, [task_id]))
            return read

        with monkeypatch.context() as slowly:
            slowly.setattr(looks, "look", slow)
            await ours.run_once()
        await ours.run_once()
        assert dealt == []

    async def test_so_many_are_watched_and_no_more(
        self, ours: Looks, db: Database, client: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(looks, "MOST_WATCHED", 2)
        ids = [(await client.enqueue("math.add", a=n)).id for n in range(5)]
        for task_id in ids:
            ours.watch(await by_ids(db, [task_id]))
        assert [*ours._watched] == ids[3:]
