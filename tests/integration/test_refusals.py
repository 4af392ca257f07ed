"""What Redis refuses for good: it concerns the entry that it concerns, and nobody else."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.redis_commands import command
from uow import TaskClient, TaskContext, task
from uow.broker import scripts
from uow.broker.claims import Claimed, Finish, claim, extend, finish, retake
from uow.broker.connection import ScriptConnection
from uow.broker.hints import Hints
from uow.broker.patient import PatientRedis
from uow.broker.redis import AWAY, RedisClient, connect
from uow.broker.refusals import EntriesRefused, is_of_a_replica, is_refusal
from uow.broker.scripts import Call, Job, caller
from uow.broker.settlements import Settlements
from uow.embedded import EmbeddedRedis
from uow.errors import InvalidOptions, SettingsError
from uow.fast import claimer as claimers
from uow.fast.claimer import Claimer
from uow.fast.finisher import REFUSALS_IN_A_ROW, Finisher
from uow.tasks.registry import Registry

LEASE_MS = 60_000

Limited = Callable[..., Awaitable[RedisClient]]


@pytest.fixture
def call(redis: RedisClient) -> Call:
    return caller(redis)


@pytest.fixture
async def limited(redis: RedisClient, redis_server: EmbeddedRedis) -> AsyncIterator[Limited]:
    """Clients whose user may do everything but what is said, as ACL rules."""
    clients: list[RedisClient] = []
    users: list[str] = []

    async def make(*rules: str) -> RedisClient:
        users.append(f"limited-{uuid4().hex}")
        await command(redis, "ACL", "SETUSER", users[-1], "on", ">pw", "~*", "&*", "+@all", *rules)
        url = redis_server.url.replace("unix://", f"unix://{users[-1]}:pw@")
        clients.append(connect(url))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
    await command(redis, "ACL", "DELUSER", "limited", *users)


async def claim_from(call: Call, *queues: str) -> list[Claimed]:
    return (await claim(call, queues, 10, LEASE_MS, "me")).jobs


def done(one: Claimed) -> Finish:
    return Finish(one.queue, one.job_id, one.token, "done")


def a_job(job_id: str, queue: str) -> Job:
    return Job(job_id, queue, 1, 0, b'{"$row":""}')


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "error",
        [
            NoPermissionError("this user has no permissions to run the 'eval' command"),
            AuthenticationError("invalid username-password pair"),
            ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
            ResponseError("unknown command 'EVALSHA', with args beginning with: "),
            ResponseError("ACL failure in script: No permissions to access a channel"),
            NoPermissionError("Command # 1 (SET a OOM BUSY) of pipeline caused error: no right"),
            EntriesRefused({"a": "WRONGTYPE"}),
            EntriesRefused({"LOADING-1": "WRONGTYPE"}),
        ],
        ids=repr,
    )
    def test_what_stays_until_somebody_mends_it_is_a_refusal(self, error: Exception) -> None:
        assert is_refusal(error)

    @pytest.mark.parametrize(
        "error",
        [
            RedisConnectionError("lost"),
            OSError("no route"),
            OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
            ReadOnlyError("You can't write against a read only replica."),
            ResponseError("MISCONF Redis is configured to save RDB snapshots"),
            ResponseError("MASTERDOWN Link with MASTER is down"),
            ResponseError("NOREPLICAS Not enough good replicas to write."),
            ResponseError("BUSY Redis is busy running a script."),
            ResponseError("Error running script (call to f_1): @user_script:1: -OOM command not"),
        ],
        ids=repr,
    )
    def test_what_passes_by_itself_is_none(self, error: Exception) -> None:
        assert not is_refusal(error)

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (ReadOnlyError("You can't write against a read only replica."), True),
            (ResponseError("Error running script: @user_script: 1: -READONLY You can't"), True),
            (ResponseError("WRONGTYPE Operation against READONLY"), False),
        ],
        ids=repr,
    )
    def test_a_replica_is_known_by_the_words_of_any_redis(
        self, error: ResponseError, expected: bool
    ) -> None:
        assert is_of_a_replica(error) == expected


class TestPush:
    async def test_a_key_that_is_no_queue_keeps_back_only_what_is_meant_for_it(
        self, redis: RedisClient, call: Call
    ) -> None:
        await redis.set("odd", "not a queue")
        jobs = [a_job("1", "odd"), a_job("2", "fine"), a_job("3", "odd")]
        with pytest.raises(
            EntriesRefused, match=r"^WRONGTYPE .*\(job '1' and 1 others\)$"
        ) as refusal:
            await scripts.push(call, jobs)
        assert set(refusal.value.reasons) == {"1", "3"}
        assert await redis.zrange("fine", 0, -1) == [b"2"]
        assert await redis.keys("arq:job:*") == [b"arq:job:2"]

    async def test_a_batch_for_a_key_that_is_no_queue_does_not_end_the_push(
        self, redis: RedisClient, call: Call
    ) -> None:
        """Whatever the size of the batch, and whoever comes after it."""
        await redis.set("odd", "not a queue")
        many = scripts.PUSH_BATCH * scripts.PUSHES_AT_ONCE
        jobs = [a_job(f"odd {n}", "odd") for n in range(many)]
        with pytest.raises(EntriesRefused):
            await scripts.push(call, [*jobs, a_job("last", "fine")])
        assert await redis.zrange("fine", 0, -1) == [b"last"]

    async def test_no_queue_is_made_in_the_place_of_another_key(
        self, redis: RedisClient, call: Call
    ) -> None:
        odd = "arq:in-progress:1"
        with pytest.raises(EntriesRefused, match="is no name for a queue") as refusal:
            await scripts.push(call, [a_job("2", odd), a_job("1", "fine"), a_job("LOADING", odd)])
        assert set(refusal.value.reasons) == {"2", "LOADING"}
        assert refusal.value.done == 1
        assert set(await redis.keys("*")) == {b"fine", b"arq:job:1"}
        assert await scripts.missing(redis, odd, ["1"]) == ["1"]

    async def test_jobs_of_a_key_that_is_no_queue_are_missing_there(
        self, redis: RedisClient, call: Call
    ) -> None:
        await redis.set("odd", "not a queue")
        await scripts.push(call, [a_job("1", "fine")])
        assert await scripts.missing(redis, "odd", ["1", "2"]) == ["1", "2"]
        assert await scripts.missing(redis, "fine", ["1", "2"]) == ["2"]
        assert await scripts.tend(redis, "odd", 0, 1.0) == 0

    async def test_what_passes_is_still_an_error_of_the_whole_call(
        self, redis: RedisClient, call: Call
    ) -> None:
        try:
            await redis.config_set("maxmemory", "1")
            with pytest.raises(ResponseError) as error:
                await scripts.push(call, [a_job("1", "fine")])
        finally:
            await redis.config_set("maxmemory", "0")
        assert not is_refusal(error.value)

    async def test_an_enqueue_beside_it_is_pushed_at_once(
        self,
        client: TaskClient,
        redis: RedisClient,
        registry: Registry,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        @task("note", registry=registry)
        async def note(ctx: TaskContext) -> None: ...

        await redis.set("odd", "not a queue")
        async with client.db.get_session() as session:
            odd = await note.options(queue="odd").enqueue(session)
            fine = await note.enqueue(session)
        await client.flush()
        assert await redis.zrange("arq:queue", 0, -1) == [str(fine.id).encode()]
        assert "Redis refuses jobs for good: WRONGTYPE" in caplog.text
        assert str(odd.id) in caplog.text

    async def test_a_rowless_task_is_refused_to_its_caller(
        self, client: TaskClient, redis: RedisClient, registry: Registry
    ) -> None:
        @task("fire", registry=registry, durable=False)
        async def fire(ctx: TaskContext) -> None: ...

        await redis.set("odd", "not a queue")
        with pytest.raises(InvalidOptions, match="fire: Redis refuses it in 'odd': WRONGTYPE"):
            await client.enqueue(fire.options(queue="odd"))


class TestFinish:
    async def test_a_key_that_is_no_queue_any_more_keeps_back_only_its_own_jobs(
        self, redis: RedisClient, call: Call
    ) -> None:
        await scripts.push(call, [a_job("1", "odd"), a_job("2", "fine"), a_job("3", "odd")])
        jobs = {one.job_id: one for one in await claim_from(call, "odd", "fine")}
        await redis.set("odd", "not a queue")
        again = Finish("odd", b"3", "me", "again", 0, b"{}")
        lost, refused = await finish(call, [done(jobs[b"1"]), again, done(jobs[b"2"])])
        assert lost == []
        assert set(refused) == {"1", "3"}
        assert "WRONGTYPE" in refused["1"]
        assert set(await redis.keys("arq:*")) == {
            b"arq:job:1", b"arq:in-progress:1", b"arq:job:3", b"arq:in-progress:3",
        }  # fmt: skip

    async def test_leases_are_extended_although_one_queue_is_none_any_more(
        self, redis: RedisClient, call: Call
    ) -> None:
        await scripts.push(call, [a_job("1", "odd"), a_job("2", "fine")])
        await claim_from(call, "odd", "fine")
        await redis.set("odd", "not a queue")
        held = [("odd", "1", "me"), ("fine", "2", "me")]
        assert await extend(call, held, 2 * LEASE_MS) == ([], [])
        for job_id in "12":
            assert await redis.pttl(f"arq:in-progress:{job_id}") > LEASE_MS
        assert await retake(call, "odd", "1", "me", b"{}", LEASE_MS)

    async def test_the_leases_of_the_dead_end_although_one_queue_is_none(
        self, redis: RedisClient, call: Call
    ) -> None:
        await scripts.push(call, [a_job("1", "odd"), a_job("2", "fine")])
        await claim_from(call, "odd", "fine")
        await redis.set("odd", "not a queue")
        await scripts.release(redis, [("odd", "1", 1), ("fine", "2", 1)])
        assert await redis.keys("arq:in-progress:*") == []
        assert await redis.zscore("fine", "2") == 1

    async def test_a_user_that_may_not_publish_finishes_all_the_same(
        self, redis: RedisClient, call: Call, limited: Limited
    ) -> None:
        mute = caller(await limited("resetchannels"))
        await scripts.push(call, [a_job(str(n), "fine") for n in range(3)])
        jobs = await claim_from(mute, "fine")
        settled = [Finish("fine", one.job_id, one.token, "settled") for one in jobs]
        assert await finish(mute, settled) == ([], {})
        assert await redis.keys("*") == []

    async def test_a_result_that_cannot_be_kept_keeps_no_job_in_its_queue(
        self, redis: RedisClient, call: Call, limited: Limited
    ) -> None:
        keys = ("fine", "arq:job:*", "arq:in-progress:*", "arq:retry:*", "arq:abort")
        half = caller(await limited("resetkeys", *(f"~{key}" for key in keys)))
        await scripts.push(call, [a_job("1", "fine")])
        [one] = await claim_from(half, "fine")
        result = Finish("fine", one.job_id, one.token, "done", 1000, b"result")
        assert set((await finish(half, [result]))[1]) == {"1"}
        assert await redis.keys("*") == []


@asynccontextmanager
async def finishing(call: Call) -> AsyncIterator[tuple[Finisher, list[Finish], asyncio.Event]]:
    ended: list[Finish] = []
    died = asyncio.Event()
    finisher = Finisher(call, ended.append, lambda: False, lambda _: died.set())
    yield finisher, ended, died
    await finisher.stop()


class TestFinisher:
    async def test_an_entry_that_no_script_can_handle_is_dropped_and_the_rest_goes_on(
        self, redis: RedisClient, call: Call, caplog: pytest.LogCaptureFixture
    ) -> None:
        await scripts.push(call, [a_job(str(n), "fine") for n in range(9)])
        jobs = await claim_from(call, "fine")
        odd = Finish("fine", "odd", "me", "done", number="no number")  # type: ignore[arg-type]
        async with finishing(call) as (finisher, ended, _):
            for one in (*map(done, jobs[:5]), odd, *map(done, jobs[5:])):
                finisher.put(one)
            await finisher.run_once()
        assert await redis.zcard("fine") == 0
        assert len(ended) == 10
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "job odd: Redis refuses to finish it" in caplog.text

    async def test_a_result_that_ends_every_connection_is_dropped_and_the_rest_goes_on(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Redis hangs up on whoever says something that is too large for it."""
        limits = {"proto-max-bulk-len": "1mb"}
        async with EmbeddedRedis(settings=limits) as server, connect(server.url) as redis:
            connection = ScriptConnection(redis)
            await scripts.push(connection.run, [a_job(str(n), "fine") for n in range(9)])
            small, odd, *others = await claim_from(connection.run, "fine")
            large = Finish("fine", odd.job_id, odd.token, "done", 1000, b"x" * 2_000_000)
            async with finishing(connection.run) as (finisher, ended, _):
                for one in (done(small), large, *map(done, others)):
                    finisher.put(one)
                async with asyncio.timeout(20):
                    while len(ended) < 9:
                        with contextlib.suppress(RedisConnectionError):
                            await finisher.run_once()
            await connection.close()
            assert len(ended) == 9
            assert await redis.zrange("fine", 0, -1) == [odd.job_id]
            assert [record.levelname for record in caplog.records] == ["ERROR"]

    async def test_a_redis_that_is_away_costs_no_entry(self) -> None:
        async with EmbeddedRedis() as server, connect(server.url) as redis:
            connection = ScriptConnection(redis)
            await scripts.push(connection.run, [a_job(str(n), "fine") for n in range(3)])
            jobs = await claim_from(connection.run, "fine")
            async with finishing(connection.run) as (finisher, ended, _):
                for one in jobs:
                    finisher.put(done(one))
                server.kill9()
                for _ in range(5):
                    with pytest.raises(AWAY):
                        await finisher.run_once()
                assert ended == []
                server.restart()
                await finisher.run_once()
                assert len(ended) == 3
            await connection.close()

    async def test_a_user_who_may_finish_nothing_ends_the_worker(
        self, call: Call, limited: Limited
    ) -> None:
        powerless = caller(await limited("-del"))
        count = REFUSALS_IN_A_ROW + 1
        await scripts.push(call, [a_job(str(n), "fine") for n in range(count)])
        jobs = (await claim(call, ["fine"], count, LEASE_MS, "me")).jobs
        async with finishing(powerless) as (finisher, _, died):
            for one in jobs:
                finisher.put(done(one))
            with pytest.raises(SettingsError, match="refused to finish 100 jobs in a row"):
                await finisher.run_once()
            await finisher.start()
            for one in jobs:
                finisher.put(done(one))
            async with asyncio.timeout(10):
                await died.wait()


class TestClaim:
    def claimer(self, call: Call, *queues: str) -> Claimer:
        return Claimer(call, dict.fromkeys(queues, 1.0), 60.0, "me", lambda _: None)

    async def test_a_key_that_is_no_queue_does_not_stop_the_others(
        self, redis: RedisClient, call: Call, caplog: pytest.LogCaptureFixture
    ) -> None:
        await redis.set("odd", "not a queue")
        claimer = self.claimer(call, "odd", "fine")
        for number in range(5):
            await scripts.push(call, [a_job(str(number), "fine")])
            assert len((await claimer.claim(1)).jobs) == 1
        [record] = caplog.records
        assert record.message.startswith("queue odd is not served, Redis refuses it: WRONGTYPE")

    @pytest.mark.parametrize("rule", ["-evalsha", "-set", None], ids=str)
    async def test_refused_claims_are_no_outage_without_end(
        self,
        rule: str | None,
        redis: RedisClient,
        call: Call,
        limited: Limited,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(claimers, "REFUSED_SECONDS", 0.1)
        await scripts.push(call, [a_job("1", "fine")])
        if rule is None:
            await redis.set("fine", "not a queue any more")
        claimer = self.claimer(caller(await limited(rule)) if rule else call, "fine")
        async with asyncio.timeout(10):
            with pytest.raises(SettingsError, match="Redis has refused every claim for"):
                while True:
                    assert (await claimer.claim(1)).jobs == []
        assert "Redis is away" not in caplog.text
        assert "it ends the worker" in caplog.text

    async def test_a_right_that_is_given_back_in_time_ends_nothing(
        self, redis: RedisClient, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await redis.set("fine", "not a queue")
        claimer = self.claimer(call, "fine")
        await claimer.claim(1)
        await redis.delete("fine")
        await scripts.push(call, [a_job("1", "fine")])
        monkeypatch.setattr(claimers, "REFUSED_SECONDS", 0.0)
        assert len((await claimer.claim(1)).jobs) == 1
        await redis.set("fine", "not a queue")
        await claimer.claim(1)  # the time begins anew


class TestOptional:
    async def test_two_that_read_at_once_on_a_connection_made_anew_harm_nobody(
        self, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hints = Hints(redis)
        met = asyncio.Event()

        async def met_by_another(*_: object, **__: object) -> None:
            met.set()
            raise RuntimeError("read() called while another coroutine is already waiting")

        async with hints.waiting_for("worker:settled:1") as told:
            monkeypatch.setattr(hints._pubsub, "get_message", met_by_another)
            monkeypatch.setattr(hints._pubsub, "unsubscribe", met_by_another)
            await redis.publish("worker:settled:1", "should a round wait for it already")
            await met.wait()
            monkeypatch.undo()
            told.clear()
            await redis.publish("worker:settled:1", "and the next one hears")
            await told.wait()
            monkeypatch.setattr(hints._pubsub, "unsubscribe", met_by_another)
        await hints.stop()

    async def test_a_user_that_may_not_subscribe_is_told_once_and_waits_for_nobody(
        self, limited: Limited, caplog: pytest.LogCaptureFixture
    ) -> None:
        hints = Hints(await limited("resetchannels"))
        rounds = 0
        real = hints.run_once

        async def counted() -> None:
            nonlocal rounds
            rounds += 1
            await real()

        hints.run_once = counted  # type: ignore[method-assign]
        async with hints.waiting_for("worker:cancel"), hints.waiting_for("worker:settled:1"):
            async with asyncio.timeout(10):
                while not caplog.records:
                    await asyncio.sleep(0.01)
            for _ in range(100):
                await asyncio.sleep(0)
        await hints.stop()
        assert rounds < 10
        assert {record.name for record in caplog.records} == {"uow.broker.hints"}
        assert len(caplog.records) == 1
        assert "+subscribe &worker:*" in caplog.text

    async def test_who_may_not_listen_to_what_is_settled_is_told_once_and_waits(
        self, limited: Limited, caplog: pytest.LogCaptureFixture
    ) -> None:
        listener = Settlements(await limited("resetchannels"), lambda _: None, lambda: None)
        await listener.start()
        async with asyncio.timeout(10):
            while not caplog.records:
                await asyncio.sleep(0.01)
        for _ in range(100):
            await asyncio.sleep(0)
        await listener.stop()
        assert len(caplog.records) == 1
        assert "+psubscribe &worker:*" in caplog.text

    async def test_the_rights_of_the_page_are_enough_to_listen_to_what_is_settled(
        self, limited: Limited, redis: RedisClient
    ) -> None:
        heard, listens = asyncio.Queue[str](), asyncio.Event()
        listener = Settlements(
            await limited("resetchannels", "&worker:*"), heard.put_nowait, listens.set
        )
        await listener.start()
        async with asyncio.timeout(10):
            await listens.wait()
            await redis.publish("worker:cancel", "no settlement")
            await redis.publish("worker:settled:1", "")
            assert await heard.get() == "1"
        await listener.stop()

    async def test_stock_arq_starts_without_the_right_to_ask_about_the_server(
        self, redis: RedisClient, redis_server: EmbeddedRedis, limited: Limited
    ) -> None:
        options = (await limited("-info")).connection_pool.connection_kwargs
        url = redis_server.url.replace("unix://", f"unix://{options['username']}:pw@")
        patient = connect(url, kind=PatientRedis)
        async with patient.pipeline(transaction=False) as pipe:
            pipe.info(section="Server")
            pipe.dbsize()
            assert await pipe.execute() == [{}, {}]
        async with patient.pipeline(transaction=False) as pipe:
            pipe.info(section="Server")
            pipe.set("a", 1)
            with pytest.raises(NoPermissionError):
                await pipe.execute()
        await patient.aclose()

    async def test_stock_arqs_client_does_not_wait_for_what_is_refused(
        self, redis: RedisClient, redis_server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        await redis.set("odd", "not a queue")
        patient = connect(redis_server.url, kind=PatientRedis)
        async with asyncio.timeout(5):
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await patient.zcard("odd")
        await patient.aclose()
        nobody = connect(
            redis_server.url.replace("unix://", "unix://nobody:pw@"), kind=PatientRedis
        )
        async with asyncio.timeout(5):
            with pytest.raises(RedisConnectionError, match="invalid username-password"):
                await nobody.ping()
        await nobody.aclose()
        assert caplog.text == ""

    async def test_stock_arq_takes_no_answer_that_passes_for_a_payload_that_is_none(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        waits = asyncio.Event()
        async with EmbeddedRedis(settings={"replica-serve-stale-data": "no"}) as server:
            patient = connect(server.url, kind=PatientRedis)
            assert isinstance(patient, PatientRedis)
            await patient.set("arq:job:1", "payload")
            async with connect(server.url) as redis:
                await command(redis, "REPLICAOF", "127.0.0.1", "1")
                pipe = patient.pipeline(transaction=False)
                pipe.get("arq:job:1")
                telling = _telling(patient.until_answered, waits)
                patient.until_answered = telling  # type: ignore[method-assign]
                reading = asyncio.create_task(pipe.execute())
                async with asyncio.timeout(10):
                    await waits.wait()
                    await command(redis, "REPLICAOF", "NO", "ONE")
                    assert await reading == [b"payload"]
            await patient.aclose()


def _telling(real: Any, failed: asyncio.Event) -> Any:
    """`until_answered`, which tells that a call has failed."""

    async def until_answered(call: Callable[[], Awaitable[Any]]) -> Any:
        async def once() -> Any:
            try:
                return await call()
            except ResponseError:
                failed.set()
                raise

        return await real(once)

    return until_answered
