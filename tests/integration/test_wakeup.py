"""The claiming connection: what wakes its worker, what does not, and what faults do to it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import fakeredis
import pytest
import uvloop
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.loopback import make_certificate, tls_with
from tests.proxy import Proxy
from tests.redis_commands import command
from uow.broker import connection, scripts, wakeup
from uow.broker.redis import AWAY, RedisClient, connect
from uow.broker.wakeup import WatchedConnection
from uow.embedded import EmbeddedRedis

QUEUE = "arq:queue"
OTHER = "arq:other"
LUA = {
    "look": "return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', 'inf')",
    "claim": """
        redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
        redis.call('SET', 'arq:in-progress:' .. ARGV[1], 'token', 'PX', 60000)
        return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', 0)""",
    "write": "return redis.call('ZADD', KEYS[1], 1, ARGV[1])",
    "look_at_all": """
        for _, key in ipairs(KEYS) do redis.call('EXISTS', key) end
        return #KEYS""",
    "say": "return ARGV[1]",
    "fail": "return redis.error_reply('ERR no')",
}


class Changes:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.count = 0
        self._more = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._more.set()

    async def come_to(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.count < count:
                self._more.clear()
                await self._more.wait()
        assert self.count == count


Watching = Callable[[RedisClient], AbstractAsyncContextManager[WatchedConnection]]


def told(watched: WatchedConnection) -> bool:
    """What it says now; of a property, a checker believes that it stays as it was."""
    return watched.is_told


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = scripts.source
    monkeypatch.setattr(scripts, "source", lambda name: LUA.get(name) or real(name))
    connection._script.cache_clear()
    wakeup._warn_once.cache_clear()
    yield
    connection._script.cache_clear()


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def watching(changes: Changes) -> Watching:
    """A connection that has heard its first "look", which is not counted."""

    @asynccontextmanager
    async def watch(redis: RedisClient) -> AsyncIterator[WatchedConnection]:
        watched = WatchedConnection(redis, [QUEUE, OTHER], changes)
        await watched.start()
        try:
            await changes.come_to(1)
            changes.count = 0
            yield watched
        finally:
            await watched.stop()

    return watch


@pytest.fixture
async def watched(redis: RedisClient, watching: Watching) -> AsyncIterator[WatchedConnection]:
    async with watching(redis) as connection:
        yield connection


@pytest.fixture
async def own_server() -> AsyncIterator[EmbeddedRedis]:
    """One that may be hurt."""
    async with EmbeddedRedis(tcp=True) as server:
        yield server


@pytest.fixture
async def own_redis(own_server: EmbeddedRedis) -> AsyncIterator[RedisClient]:
    client = connect(own_server.url, timeout=0.5)
    yield client
    await client.aclose()


class TestWakes:
    async def test_a_push_of_ours_wakes(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        assert await watched.run("look", [QUEUE], []) == []
        await scripts.push(scripts.caller(redis), [scripts.Job("a", QUEUE, 1, 0, b"{}")])
        await changes.come_to(1)
        assert await watched.run("look", [QUEUE], []) == [b"a"]

    async def test_a_push_by_a_stock_client_wakes(
        self, redis_server: EmbeddedRedis, watched: WatchedConnection, changes: Changes
    ) -> None:
        await watched.run("look", [QUEUE], [])
        async with ArqRedis.from_url(redis_server.url) as stock:
            await stock.enqueue_job("f")
        await changes.come_to(1)

    async def test_a_push_wakes_at_once(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        await watched.run("look", [QUEUE], [])
        began = time.monotonic()
        await redis.zadd(QUEUE, {"a": 1})
        await changes.come_to(1)
        assert time.monotonic() - began < 0.5  # usual is a millisecond

    @pytest.mark.parametrize(
        "change",
        [
            lambda redis: redis.zrem(QUEUE, "there"),
            lambda redis: redis.delete(QUEUE),
            lambda redis: redis.pexpire(QUEUE, 1),
            lambda redis: redis.rename(QUEUE, "elsewhere"),
            lambda redis: redis.flushall(),
            lambda redis: redis.flushdb(),
        ],
        ids=["ZREM", "DEL", "PEXPIRE", "RENAME", "FLUSHALL", "FLUSHDB"],
    )
    async def test_so_does_whatever_else_is_done_to_the_queue(
        self,
        change: Callable[[RedisClient], Awaitable[object]],
        redis: RedisClient,
        watched: WatchedConnection,
        changes: Changes,
    ) -> None:
        await redis.zadd(QUEUE, {"there": 1})
        await watched.run("look", [QUEUE], [])
        await change(redis)
        await changes.come_to(1)

    async def test_a_queue_that_expires_wakes(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        await redis.zadd(QUEUE, {"there": 1})
        await redis.pexpire(QUEUE, 50)
        await watched.run("look", [QUEUE], [])
        await changes.come_to(1)

    async def test_each_of_several_queues_wakes(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        await watched.run("look_at_all", [QUEUE, OTHER], [])
        await redis.zadd(OTHER, {"a": 1})
        await changes.come_to(1)
        await redis.zadd(QUEUE, {"a": 1})
        await changes.come_to(2)


async def skip_before_redis_7(redis: RedisClient) -> None:
    """Redis 6.2 tells a connection of what its own scripts write, and has no rights for a part of a
    command. Valkey says that it is a Redis 7."""
    version = (await redis.info("server"))["redis_version"]
    if int(version.partition(".")[0]) < 7:
        pytest.skip(f"not with Redis {version}")


@pytest.fixture
async def since_redis_7(redis: RedisClient) -> None:
    await skip_before_redis_7(redis)


class TestDoesNotWake:
    """A change that counts follows in each: messages come in order, so none came before it."""

    @pytest.mark.usefixtures("since_redis_7")
    async def test_an_own_claim_does_not_wake_and_goes_on_watching(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        await watched.run("look", [QUEUE], [])
        for job in ("a", "b"):
            await watched.run("claim", [QUEUE], [job, 99])
        await redis.zadd(QUEUE, {"theirs": 1})
        await changes.come_to(1)

    async def test_a_worker_that_has_not_looked_again_is_told_once(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        await watched.run("look", [QUEUE], [])
        for job in range(50):
            await redis.zadd(QUEUE, {f"{job}": 1})
        await watched.run("look", [QUEUE], [])
        await redis.zadd(QUEUE, {"last": 1})
        await changes.come_to(2)

    async def test_keys_that_are_no_queues_do_not_wake(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        await watched.run("look_at_all", [QUEUE, "arq:in-progress:a"], [])
        await redis.set("arq:in-progress:a", "theirs")
        await redis.zadd(QUEUE, {"theirs": 1})
        await changes.come_to(1)

    @pytest.mark.usefixtures("since_redis_7")
    async def test_a_script_that_writes_last_ends_the_watch(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        """Why scripts read last; should this fail one day, they need not any more."""
        await watched.run("look_at_all", [QUEUE, OTHER], [])
        await watched.run("write", [QUEUE], ["ours"])
        await redis.zadd(QUEUE, {"theirs": 1})
        await redis.zadd(OTHER, {"theirs": 1})
        await changes.come_to(1)


class TestRun:
    async def test_runs_at_the_same_time_get_their_own_answers(
        self, watched: WatchedConnection
    ) -> None:
        answers = await asyncio.gather(*(watched.run("say", [], [i]) for i in range(200)))
        assert answers == [str(i).encode() for i in range(200)]

    async def test_a_long_argument_and_a_long_answer_arrive(
        self, watched: WatchedConnection
    ) -> None:
        long = b"\r\n$x" * 500_000
        assert await watched.run("say", [], [long]) == long

    async def test_an_error_of_the_script_is_raised_and_nothing_is_lost(
        self, redis: RedisClient, watched: WatchedConnection, changes: Changes
    ) -> None:
        await watched.run("look", [QUEUE], [])
        with pytest.raises(ResponseError, match="no"):
            await watched.run("fail", [], [])
        assert await watched.run("say", [], ["next"]) == b"next"
        await redis.zadd(QUEUE, {"a": 1})
        await changes.come_to(1)

    async def test_a_script_that_redis_has_forgotten_is_sent_again(
        self, redis: RedisClient, watched: WatchedConnection
    ) -> None:
        await watched.run("say", [], ["a"])
        await redis.script_flush()
        assert await watched.run("say", [], ["b"]) == b"b"

    async def test_it_runs_without_being_started_and_after_the_stop(
        self, redis: RedisClient, changes: Changes
    ) -> None:
        watched = WatchedConnection(redis, [QUEUE], changes)
        for answer in (b"a", b"b"):
            assert await watched.run("say", [], [answer]) == answer
            assert not watched.is_told
            await watched.stop()
        assert changes.count == 0

    async def test_a_cancelled_run_leaves_its_answer_to_nobody(
        self, own_server: EmbeddedRedis, own_redis: RedisClient, watching: Watching
    ) -> None:
        async with watching(own_redis) as watched:
            await watched.run("say", [], ["before"])
            own_server.pause()
            cancelled = asyncio.create_task(watched.run("say", [], ["cancelled"]))
            after = asyncio.create_task(watched.run("say", [], ["after"]))
            await asyncio.sleep(0)  # both are sent
            cancelled.cancel()
            await asyncio.wait([cancelled])
            own_server.resume()
            assert await after == b"after"
            assert cancelled.cancelled()

    @pytest.mark.parametrize("steps", range(12))
    async def test_a_run_that_is_cancelled_while_it_connects_does_no_harm(
        self, steps: int, redis: RedisClient, changes: Changes
    ) -> None:
        watched = WatchedConnection(redis, [QUEUE], changes)
        cancelled = asyncio.create_task(watched.run("say", [], ["a"]))
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled.cancel()
        assert await watched.run("say", [], ["b"]) == b"b"
        await watched.stop()

    async def test_a_stop_while_it_connects_leaves_nothing_open(
        self, own_server: EmbeddedRedis, own_redis: RedisClient, changes: Changes
    ) -> None:
        own_server.pause()
        watched = WatchedConnection(own_redis, [QUEUE], changes)
        await watched.start()
        await asyncio.sleep(0)
        await watched.stop()
        own_server.resume()

    async def test_it_speaks_tls(
        self, own_server: EmbeddedRedis, changes: Changes, watching: Watching, tmp_path: Path
    ) -> None:
        certificate = make_certificate(tmp_path)
        parts = urlsplit(own_server.url)
        proxy = Proxy(parts.hostname or "", parts.port or 0)
        async with proxy.listening(tls_with(certificate)):
            client = connect(f"rediss://localhost:{proxy.port}/0?ssl_ca_certs={certificate}")
            async with watching(client) as watched:
                await watched.run("look", [QUEUE], [])
                async with connect(own_server.url) as other:
                    await other.zadd(QUEUE, {"a": 1})
                await changes.come_to(1)

    async def test_login_and_database_are_those_of_the_client(
        self, own_redis: RedisClient, own_server: EmbeddedRedis, watching: Watching
    ) -> None:
        await command(own_redis, "ACL SETUSER worker on >secret ~* &* +@all")
        url = own_server.url.replace("redis://", "redis://worker:secret@").replace("/0", "/3")
        async with connect(url) as client, watching(client) as watched:
            await watched.run("write", [QUEUE], ["a"])
            assert await client.zcard(QUEUE) == 1
            assert await own_redis.zcard(QUEUE) == 0


class TestFaults:
    @pytest.mark.parametrize("which", ["claimer", "listener"])
    async def test_a_connection_that_is_killed_is_had_again_unasked(
        self, which: str, own_redis: RedisClient, watching: Watching, changes: Changes
    ) -> None:
        async with watching(own_redis) as watched:
            await watched.run("look", [QUEUE], [])
            await kill(own_redis, which)
            await changes.come_to(1)
            assert watched.is_told
            assert await watched.run("look", [QUEUE], []) == []
            await own_redis.zadd(QUEUE, {"a": 1})
            await changes.come_to(2)

    async def test_it_is_not_told_while_nobody_listens(
        self, own_redis: RedisClient, watching: Watching, changes: Changes
    ) -> None:
        async with watching(own_redis) as watched:
            await own_redis.config_set("maxclients", 2)  # itself and the claimer
            await kill(own_redis, "listener")
            async with asyncio.timeout(5):
                while watched.is_told:
                    await asyncio.sleep(0)
            assert await watched.run("say", [], ["a"]) == b"a"
            assert not watched.is_told
            await own_redis.config_set("maxclients", 100)
            await changes.come_to(1)
            assert watched.is_told

    async def test_a_server_that_restarts_is_found_again(
        self,
        own_server: EmbeddedRedis,
        own_redis: RedisClient,
        watching: Watching,
        changes: Changes,
    ) -> None:
        async with watching(own_redis) as watched:
            await watched.run("look", [QUEUE], [])
            await asyncio.to_thread(own_server.kill9)
            with pytest.raises(AWAY):
                await watched.run("look", [QUEUE], [])
            assert not told(watched)
            await asyncio.to_thread(own_server.start)
            await changes.come_to(1)
            assert told(watched)
            assert await watched.run("look", [QUEUE], []) == []
            await own_redis.zadd(QUEUE, {"a": 1})
            await changes.come_to(2)

    async def test_a_server_that_hangs_is_an_error_in_time(
        self,
        own_server: EmbeddedRedis,
        own_redis: RedisClient,
        watching: Watching,
        changes: Changes,
    ) -> None:
        async with watching(own_redis) as watched:
            own_server.pause()
            began = time.monotonic()
            runs = (watched.run("say", [], ["a"]) for _ in range(3))
            errors = await asyncio.gather(*runs, return_exceptions=True)
            assert [type(error) for error in errors] == [RedisTimeoutError] * 3
            with pytest.raises(AWAY):  # it cannot connect either
                await watched.run("say", [], ["a"])
            assert 0.5 <= time.monotonic() - began < 5
            assert not told(watched)
            own_server.resume()
            await changes.come_to(1)
            assert told(watched)
            assert await watched.run("say", [], ["b"]) == b"b"

    async def test_a_listener_whose_peer_is_gone_is_noticed(
        self, own_server: EmbeddedRedis, own_redis: RedisClient, watching: Watching
    ) -> None:
        async with watching(own_redis) as watched:
            own_server.pause()
            with pytest.raises(AWAY):
                await watched.run_once()  # what it does every 10 seconds
            assert not watched.is_told
            own_server.resume()

    async def test_a_redis_that_became_a_replica_is_connected_to_anew(
        self, own_redis: RedisClient, watching: Watching, changes: Changes
    ) -> None:
        async with watching(own_redis) as watched:
            await watched.run("write", [QUEUE], ["a"])
            await command(own_redis, "REPLICAOF 127.0.0.1 1")
            with pytest.raises(ResponseError, match="read only replica"):
                await watched.run("write", [QUEUE], ["b"])
            await changes.come_to(1)
            await command(own_redis, "REPLICAOF NO ONE")
            assert await watched.run("write", [QUEUE], ["b"]) == 1

    async def test_a_redis_that_is_not_there_is_an_error_that_counts_as_away(
        self, changes: Changes
    ) -> None:
        redis = connect("redis://127.0.0.1:1")
        watched = WatchedConnection(redis, [QUEUE], changes)
        with pytest.raises(RedisConnectionError):
            await watched.run("say", [], ["a"])
        await watched.stop()

    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
    def test_an_answer_that_we_were_too_busy_to_read_is_not_late(
        self, new_loop: Callable[[], asyncio.AbstractEventLoop], redis_server: EmbeddedRedis
    ) -> None:
        async def block() -> None:
            redis = connect(redis_server.url, timeout=0.1)
            watched = WatchedConnection(redis, [QUEUE], lambda: None)
            await watched.run("say", [], ["a"])
            running = asyncio.create_task(watched.run("say", [], ["b"]))
            await asyncio.sleep(0)
            time.sleep(0.3)
            assert await running == b"b"
            await watched.stop()

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(block())


class TestRefusal:
    """A user without permission, or a Redis that does not know how."""

    RULES = ("-client|tracking", "-client|id", "-subscribe", "resetchannels", "-client -ping")

    @pytest.mark.parametrize("rule", RULES)
    async def test_is_warned_of_once_and_claims_work(
        self,
        rule: str,
        own_redis: RedisClient,
        own_server: EmbeddedRedis,
        watching: Watching,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        if "|" in rule:
            await skip_before_redis_7(own_redis)
        await command(own_redis, f"ACL SETUSER worker on >secret ~* &* +@all {rule}")
        client = connect(own_server.url.replace("redis://", "redis://worker:secret@"))
        for _ in range(2):
            async with watching(client) as watched:
                await watched.run_once()
                assert not watched.is_told
                assert await watched.run("look", [QUEUE], []) == []
        (warning,) = warnings_in(caplog)
        assert "+client|tracking" in warning
        assert "every 50 ms" in warning

    @pytest.mark.usefixtures("since_redis_7")
    async def test_is_asked_again_when_a_connection_was_lost(
        self,
        own_redis: RedisClient,
        own_server: EmbeddedRedis,
        watching: Watching,
        changes: Changes,
    ) -> None:
        rules = "on >secret ~* &* +@all -client|tracking"
        await command(own_redis, f"ACL SETUSER worker {rules}")
        client = connect(own_server.url.replace("redis://", "redis://worker:secret@"))
        async with watching(client) as watched:
            await command(own_redis, "ACL SETUSER worker +client|tracking")
            await command(own_redis, "CLIENT KILL USER worker")
            await changes.come_to(1)
            assert watched.is_told

    async def test_a_redis_without_a_network_runs_scripts_and_tells_nothing(
        self, watching: Watching, caplog: pytest.LogCaptureFixture
    ) -> None:
        redis = fakeredis.FakeAsyncRedis()
        async with watching(redis) as watched:
            assert await watched.run("claim", [QUEUE], ["a", 99]) == []
            assert await watched.run("look", [QUEUE], []) == [b"a"]
            assert not watched.is_told
        assert len(warnings_in(caplog)) == 1


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "uow.broker.wakeup" and record.levelno == logging.WARNING
    ]


async def kill(redis: RedisClient, which: str) -> None:
    def is_it(client: dict[str, str]) -> bool:
        return "t" in client["flags"] if which == "claimer" else client["sub"] == "1"

    (it,) = filter(is_it, await redis.client_list())
    await redis.client_kill_filter(_id=it["id"])
