"""`GET /api/events`: a snapshot, then what is settled; bounded, and true in the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

import uow.api
from tests.conftest import Drain
from tests.integration.api.conftest import assert_problem
from tests.servers import serving
from uow import Database, Settings, TaskClient
from uow.api import event_stream, streams
from uow.api.streams import Stream, Streams
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.db.following import by_ids
from uow.questions.following import EVERYTHING, Following

SECONDS = 10


class Reader:
    """What a client has read of a stream."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.frames = 0

    async def next(self) -> tuple[str, list[dict[str, Any]]]:
        """The next event and its tasks; or a comment, without any."""
        event, tasks = "", list[dict[str, Any]]()
        async with asyncio.timeout(SECONDS):
            async for line in self._lines:
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    tasks = json.loads(line.removeprefix("data: "))["tasks"]
                elif line.startswith(": "):
                    event = line
                elif not line:
                    self.frames += 1
                    return event, tasks
        return "end", []

    async def told_of(self, task_id: UUID) -> dict[str, Any]:
        """What is told of this task next."""
        while True:
            event, tasks = await self.next()
            assert event != "end"
            for task in tasks:
                if task["id"] == str(task_id) and task["settled_at"]:
                    return task


@asynccontextmanager
async def following(
    api: httpx.AsyncClient, query: str = "", **headers: str
) -> AsyncIterator[Reader]:
    async with api.stream("GET", f"/api/events{query}", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Reader(response.aiter_lines())


async def listening(app: FastAPI, redis: RedisClient) -> None:
    """Return when the app listens."""
    async with asyncio.timeout(SECONDS):
        while not await redis.execute_command("PUBSUB", "NUMPAT"):  # type: ignore[no-untyped-call]
            await asyncio.sleep(0.01)


async def settle(redis: RedisClient, db: Database, client: TaskClient, *ids: UUID) -> None:
    for task_id in ids:
        await client.cancel(task_id)


async def test_a_snapshot_then_what_is_settled(
    api: httpx.AsyncClient, client: TaskClient, drain: Drain, redis: RedisClient, app: FastAPI
) -> None:
    first = await client.enqueue("math.add", a=1)
    second = await client.enqueue("math.add", a=2)
    async with following(api) as reader:
        event, tasks = await reader.next()
        assert event == "snapshot"
        assert [task["id"] for task in tasks] == [str(second.id), str(first.id)]
        assert tasks[0].keys() == {
            "id", "name", "state", "queue", "user_id", "created_at", "run_at", "settled_at",
            "tries", "attempt",
        }  # fmt: skip
        await listening(app, redis)
        await drain()
        found = await reader.told_of(first.id)
        assert (found["state"], found["attempt"], found["name"]) == ("succeeded", 1, "math.add")


async def test_a_stream_of_a_user_or_a_task_tells_of_no_others(
    api: httpx.AsyncClient, client: TaskClient, redis: RedisClient, db: Database, app: FastAPI
) -> None:
    ids = {}
    for user in ("ann", "ben", None):
        body = {"name": "math.add", "args": {"a": 1}} | ({"user_id": user} if user else {})
        ids[user] = UUID((await api.post("/tasks", json=body)).json()["id"])
    async with (
        following(api, "?user=ann") as of_ann,
        following(api, f"?task={ids['ben']}") as of_task,
    ):
        for reader, expected in ((of_ann, ids["ann"]), (of_task, ids["ben"])):
            event, tasks = await reader.next()
            assert (event, [task["id"] for task in tasks]) == ("snapshot", [str(expected)])
        await listening(app, redis)
        await settle(redis, db, client, ids[None], ids["ben"], ids["ann"])
        for reader, expected in ((of_ann, ids["ann"]), (of_task, ids["ben"])):
            event, tasks = "snapshot", []
            while event == "snapshot" and not any(task["settled_at"] for task in tasks):
                event, tasks = await reader.next()
            assert [task["id"] for task in tasks] == [str(expected)]


async def test_whoever_connects_again_gets_a_new_snapshot(api: httpx.AsyncClient) -> None:
    async with following(api, **{"last-event-id": "17"}) as reader:
        assert await reader.next() == ("snapshot", [])


async def test_a_task_that_is_not_there_is_an_empty_snapshot_and_both_filters_are_refused(
    api: httpx.AsyncClient,
) -> None:
    async with following(api, f"?task={uuid4()}") as reader:
        assert await reader.next() == ("snapshot", [])
    assert_problem(await api.get(f"/api/events?task={uuid4()}&user=ann"), 422)
    assert_problem(await api.get("/api/events?task=x"), 422)


async def test_all_streams_of_a_process_share_one_subscription_that_ends_with_the_last(
    api: httpx.AsyncClient, app: FastAPI, redis: RedisClient
) -> None:
    async with following(api) as one, following(api, "?user=ann") as other:
        await one.next()
        await other.next()
        await listening(app, redis)
        assert await patterns(redis) == 1
        clients = await redis.execute_command("CLIENT", "LIST", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        assert (
            sum(
                "psub=1" in str(one)
                for one in (clients if isinstance(clients, list) else [clients])
            )
            == 1
        )
    async with asyncio.timeout(SECONDS):
        while await patterns(redis) or len(app.state.uow_streams):
            await asyncio.sleep(0.01)


async def patterns(redis: RedisClient) -> int:
    return int(await redis.execute_command("PUBSUB", "NUMPAT"))  # type: ignore[no-untyped-call]


async def test_without_a_hint_it_is_found_out_after_a_quiet_time(
    api: httpx.AsyncClient, db: Database, client: TaskClient, redis: RedisClient, app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(streams, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(keys, "OUR_CHANNELS", "nobody's")
    handle = await client.enqueue("math.add", a=1)
    async with following(api) as reader:
        await reader.next()
        await listening(app, redis)
        await settle(redis, db, client, handle.id)
        assert (await reader.told_of(handle.id))["state"] == "cancelled"
        while (await reader.next())[0] != ": still here":
            pass


async def test_a_stream_ends_after_its_time(
    api: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "STREAM_SECONDS", 0.3)
    async with following(api) as reader:
        while (await reader.next())[0] != "end":
            pass


async def test_there_are_so_many_streams_and_no_more(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 1)
    async with following(api) as reader:
        await reader.next()
        refused = assert_problem(await api.get("/api/events"), 503)
        assert "no more streams" in refused["detail"]


async def test_without_postgres_no_stream_begins(refusing: httpx.AsyncClient) -> None:
    assert_problem(await refusing.get("/api/events"), 503)


async def test_when_the_process_is_told_to_stop_they_end_and_no_more_begin(
    api: httpx.AsyncClient, app: FastAPI
) -> None:
    async with following(api) as reader:
        await reader.next()
        app.state.uow_streams.close()
        while (await reader.next())[0] != "end":
            pass
    assert_problem(await api.get("/api/events"), 503)


class TestStreams:
    """How it is dealt out, without a server in front."""

    @pytest.fixture
    async def ours(self, db: Database, redis: RedisClient) -> Streams:
        return Streams(db, redis)

    async def test_more_than_one_read_can_tell_is_a_new_snapshot(
        self, ours: Streams, client: TaskClient, redis: RedisClient,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(streams, "MOST_IDS", 2)
        monkeypatch.setattr(streams, "OVERFLOW_SECONDS", 0.01)
        async with ours.following(EVERYTHING) as stream:
            await asyncio.wait_for(told_by_redis(redis), SECONDS)
            stream.take()
            for _ in range(100):
                await redis.publish(keys.settled_channel(str(uuid4())), "")
            await asyncio.wait_for(stream.due.wait(), SECONDS)
            assert stream.begins_anew

    async def test_a_slow_client_costs_no_more_than_a_bound(
        self, ours: Streams, client: TaskClient
    ) -> None:
        handle = await client.enqueue("math.add", a=1)
        (task,) = await by_ids(client.db, [handle.id])
        stream = Stream()
        stream.take()
        for _ in range(streams.MOST_PENDING):
            stream.tell(replace(task, id=uuid4()))
        assert len(stream.take()) == streams.MOST_PENDING
        for _ in range(10_000):
            stream.tell(replace(task, id=uuid4()))
        assert (stream.begins_anew, stream.take()) == (True, [])

    async def test_of_those_who_ask_the_same_at_once_one_asks_postgres(
        self, ours: Streams, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Following] = []

        async def snapshot(_: Database, what: Following) -> list[Any]:
            asked.append(what)
            return []

        monkeypatch.setattr(streams, "snapshot", snapshot)
        ann = Following(user="ann")
        await asyncio.gather(*(ours.ask(what) for what in [EVERYTHING, ann] * 100))
        assert sorted(map(str, asked)) == sorted(map(str, [EVERYTHING, ann]))
        await ours.ask(ann)
        assert len(asked) == 3

    async def test_one_may_come_while_the_last_one_goes(
        self, ours: Streams, redis: RedisClient, client: TaskClient, db: Database,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        goes, may_go, stop = asyncio.Event(), asyncio.Event(), ours._listener.stop

        async def stop_slowly() -> None:
            goes.set()
            await may_go.wait()
            await stop()

        async def follow_shortly() -> None:
            async with ours.following(EVERYTHING):
                pass

        handle = await client.enqueue("math.add", a=1)
        monkeypatch.setattr(ours._listener, "stop", stop_slowly)
        going = asyncio.create_task(follow_shortly())
        async with asyncio.timeout(SECONDS):
            await goes.wait()
            asyncio.get_running_loop().call_later(0.05, may_go.set)
            async with ours.following(EVERYTHING) as stream:
                await going
                await told_by_redis(redis)
                while stream.begins_anew:
                    stream.take()
                    await asyncio.sleep(0.1)  # what is told at the beginning is told by then
                await settle(redis, db, client, handle.id)
                await stream.due.wait()
                assert [task.id for task in stream.take()] == [handle.id]
        assert len(ours) == 0


async def told_by_redis(redis: RedisClient) -> None:
    while not await patterns(redis):
        await asyncio.sleep(0.01)


async def test_an_outage_of_redis_ends_in_a_new_snapshot(
    api: httpx.AsyncClient, app: FastAPI, redis: RedisClient
) -> None:
    async with following(api) as reader:
        await reader.next()
        await listening(app, redis)
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        while (await reader.next())[0] != "snapshot":
            pass


async def test_it_can_be_served_under_another_prefix(settings: Settings, registry: Any) -> None:
    app = FastAPI()
    app.include_router(uow.api.router(dependencies=[], role="viewer"), prefix="/x")
    async with (
        Database.from_settings(settings.require_database()) as app.state.db,
        TaskClient.from_settings(settings, db=app.state.db) as app.state.client,
        serving(app) as http,
        http.stream("GET", "/x/api/events") as response,
    ):
        assert await Reader(response.aiter_lines()).next() == ("snapshot", [])


async def test_a_client_that_has_stopped_reading_does_not_hold_the_process(
    db: Database, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "FAREWELL_SECONDS", 0.05)
    ours, stalled = Streams(db, redis), asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            stalled.set()
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    response = event_stream.EventStream(ours, EVERYTHING)
    serving = asyncio.create_task(response({"type": "http"}, receive, send))
    async with asyncio.timeout(SECONDS):
        await stalled.wait()
        ours.close()
        await serving
    assert len(ours) == 0
