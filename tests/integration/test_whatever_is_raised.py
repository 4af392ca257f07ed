"""Whatever user code raises has an outcome, its row and its log; and whose fault it was."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import arq
import asyncpg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, make_url, text

from tests.conftest import Drain, task_worker
from tests.integration.test_attempts import AT_ONCE, drain_until_settled, view_of
from uow import (
    Cancel,
    Database,
    Retry,
    Settings,
    Snooze,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskState,
    task,
)
from uow.attempt.answer import handing_back
from uow.attempt.delivery import Delivery
from uow.attempt.pauses import Pauses
from uow.attempt.running import Held
from uow.attempt.solo import Solo
from uow.broker import codec, scripts
from uow.broker.claims import Finish
from uow.broker.redis import RedisClient
from uow.errors import ServerUnreachable
from uow.fast.batches import Batches, Delivered
from uow.fast.slot import answered
from uow.fast.task_worker import TaskWorker
from uow.services.presence import Presence
from uow.services.rescuer import Rescuer
from uow.tasks.registry import Registry
from uow.tasks.retry import MOST_SETBACKS
from uow.telemetry.description import LEFT_OUT, MESSAGE_BYTES, TRACEBACK_BYTES

WIDE = Table("wide", MetaData(), *(Column(f"c{n}", Integer) for n in range(8)))

AWAY = "Postgres is away"

STILL_THERE = "UPDATE worker_process SET running = '{}', heartbeat_at = now()"
LONG_AGO = "UPDATE task SET dispatch_at = 'infinity', started_at = now() - interval '1 hour'"


class PanicException(BaseException):
    """As pyo3_runtime.PanicException, which Rust code raises."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise AttributeError("order_id")


class Payment(Exception): ...


async def in_group(*errors: BaseException) -> None:
    async def fail(error: BaseException) -> None:
        raise error

    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


async def terminated(ctx: TaskContext) -> None:
    async with ctx["db"].get_session() as session:
        await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


class TestErrorsThatAreNoExceptions:
    @pytest.mark.parametrize("kind", [PanicException, GeneratorExit, KeyboardInterrupt])
    @pytest.mark.parametrize("atomic", [True, False])
    async def test_they_count_like_any_other_and_end_no_worker(
        self, kind: type[BaseException], atomic: bool, client: TaskClient, registry: Registry,
        drain: Drain,
    ) -> None:  # fmt: skip
        @task("panics", max_tries=2, backoff=AT_ONCE, atomic=atomic, registry=registry)
        async def panics(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(text("SELECT 1"))
                raise kind("called `Option::unwrap()` on a `None` value")

        @task("innocent", registry=registry)
        async def innocent(ctx: TaskContext) -> str:
            return "done"

        handle, other = await client.enqueue(panics), await client.enqueue(innocent)
        view = await drain_until_settled(client, handle, drain)
        assert (view.state, view.attempt, view.tries) == (TaskState.FAILED, 2, 2)
        assert {error.error_type for error in view.errors} == {kind.__name__}
        assert await other.result(10) == "done"

    async def test_a_task_without_a_row_fails_of_them_too(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("panics", durable=False, max_tries=1, registry=registry)
        async def panics(ctx: TaskContext) -> None:
            raise PanicException("no")

        handle = await client.enqueue(panics)
        await drain()
        with pytest.raises(TaskFailed, match="PanicException: no"):
            await handle.result(10)


class TestErrorsThatAreHardToTell:
    async def test_one_that_cannot_be_printed_fails_its_task(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("odd", max_tries=2, backoff=AT_ONCE, registry=registry)
        async def odd(ctx: TaskContext) -> None:
            raise Unprintable

        view = await drain_until_settled(client, await client.enqueue(odd), drain)
        assert (view.state, view.tries) == (TaskState.FAILED, 2)
        assert view.errors[0].error_type == "Unprintable"

    @pytest.mark.parametrize("durable", [True, False])
    async def test_a_huge_one_is_cut_in_its_row_and_in_the_log(
        self, durable: bool, client: TaskClient, registry: Registry, drain: Drain,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        @task("huge", max_tries=1, durable=durable, registry=registry)
        async def huge(ctx: TaskContext) -> None:
            raise ValueError("x" * 3_000_000 + "end")

        handle = await client.enqueue(huge)
        await drain()
        with pytest.raises(TaskFailed) as failed:
            await handle.result(10)
        assert len(failed.value.message) <= MESSAGE_BYTES
        assert failed.value.message.endswith("xend")
        assert len(failed.value.traceback) <= TRACEBACK_BYTES
        assert len(caplog.text) < 2 * TRACEBACK_BYTES

    async def test_one_whose_parts_cannot_be_stored_is_stored_readably(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("odd", max_tries=1, registry=registry)
        async def odd(ctx: TaskContext) -> None:
            raise TaskFailed("a\x00b", "c\ud800d", "e\x00f")

        handle = await client.enqueue(odd)
        await drain()
        (error,) = (await view_of(client, handle)).errors
        assert (error.error_type, error.message) == ("a\\x00b", "c\\ud800d")

    async def test_the_detail_that_shows_a_row_is_told_nowhere(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        await db.execute_once(text("CREATE TABLE person (email text UNIQUE)"), {})

        @task("doubles", max_tries=1, registry=registry)
        async def doubles(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                for _ in range(2):
                    await session.execute(
                        text("INSERT INTO person VALUES (:email)"), {"email": "ann@secret"}
                    )

        handle = await client.enqueue(doubles)
        await drain()
        (error,) = (await view_of(client, handle)).errors
        assert "duplicate key value violates unique constraint" in error.message
        for told in (error.message, error.traceback, caplog.text):
            assert "ann@secret" not in told
        assert LEFT_OUT in error.traceback
        assert LEFT_OUT in caplog.text

    async def test_line_ends_in_it_forge_no_line_of_the_log(
        self, client: TaskClient, registry: Registry, drain: Drain,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        @task("forges", max_tries=1, registry=registry)
        async def forges(ctx: TaskContext) -> None:
            raise ValueError("x\nforged\x1b[2K")

        handle = await client.enqueue(forges)
        await drain()
        assert await handle.status() is TaskState.FAILED
        assert r"ValueError: x\nforged\x1b[2K" in caplog.text
        assert not any(line.startswith("forged") for line in caplog.text.split("\n"))


class TestGroups:
    @pytest.mark.parametrize(
        ("make", "state", "tries"),
        [
            (lambda: Snooze(3600), TaskState.SCHEDULED, 0),
            (lambda: Retry(delay=3600), TaskState.RETRYING, 1),
            (lambda: Cancel("nothing to do"), TaskState.CANCELLED, 0),
            (lambda: LookupError("bad input"), TaskState.FAILED, 1),
            (lambda: ValueError("again"), TaskState.RETRYING, 1),
        ],
    )
    async def test_what_a_task_group_raises_means_what_is_in_it(
        self, make: Callable[[], Exception], state: TaskState, tries: int, client: TaskClient,
        registry: Registry, drain: Drain,
    ) -> None:  # fmt: skip
        @task("grouped", final=(LookupError,), registry=registry)
        async def grouped(ctx: TaskContext) -> None:
            await in_group(make(), ValueError("beside it"))

        handle = await client.enqueue(grouped)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.attempt, view.tries) == (state, 1, tries)
        if state in (TaskState.FAILED, TaskState.RETRYING):
            assert "ValueError: beside it" in view.errors[0].message

    async def test_a_lost_connection_in_a_group_burns_no_try(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("grouped", max_tries=1, registry=registry)
        async def grouped(ctx: TaskContext) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(terminated(ctx))

        handle = await client.enqueue(grouped)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.tries) == (TaskState.QUEUED, 0)

    async def test_after_a_group_that_was_caught_an_error_counts(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        """Such a group leaves the asyncio task `cancelling()`, as if somebody interrupted it."""

        @task("goes.on", max_tries=1, registry=registry)
        async def goes_on(ctx: TaskContext) -> None:
            try:
                await in_group(ValueError("caught"))
            except* ValueError:
                pass
            raise KeyError("mine")

        handle = await client.enqueue(goes_on)
        await drain()
        with pytest.raises(TaskFailed, match="KeyError"):
            await handle.result(10)


class TestWhoseFault:
    async def test_a_lost_connection_by_another_name_burns_no_try(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("wraps", max_tries=1, registry=registry)
        async def wraps(ctx: TaskContext) -> None:
            try:
                await terminated(ctx)
            except Exception as error:
                raise Payment("could not store") from error

        handle = await client.enqueue(wraps)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.tries) == (TaskState.QUEUED, 0)

    async def test_more_parameters_than_the_driver_takes_are_the_tasks_own_fault(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        columns = ", ".join(f"{column.name} int" for column in WIDE.columns)
        await db.execute_once(text(f"CREATE TABLE wide ({columns})"), {})

        @task("bulk", max_tries=1, registry=registry)
        async def bulk(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                rows = [{column.name: 1 for column in WIDE.columns}] * 5000
                await session.execute(insert(WIDE).values(rows))

        handle = await client.enqueue(bulk)
        await drain()
        with pytest.raises(TaskFailed, match="cannot exceed 32767"):
            await handle.result(10)

    async def test_two_calls_at_once_on_a_connection_of_its_own_are_the_tasks_own_fault(
        self, database_url: str, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        dsn = make_url(database_url).set(drivername="postgresql")

        @task("gathers", max_tries=1, registry=registry)
        async def gathers(ctx: TaskContext) -> None:
            own = await asyncpg.connect(dsn.render_as_string(hide_password=False))
            try:
                await asyncio.gather(own.fetch("SELECT pg_sleep(0.01)"), own.fetch("SELECT 2"))
            finally:
                own.terminate()

        handle = await client.enqueue(gathers)
        await drain()
        with pytest.raises(TaskFailed, match="another operation is in progress"):
            await handle.result(10)

    async def test_a_time_limit_of_its_own_after_something_had_joined_is_its_own_fault(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        await db.execute_once(text("CREATE TABLE effect ()"), {})

        @task("limits", max_tries=2, backoff=AT_ONCE, registry=registry)
        async def limits(ctx: TaskContext) -> str:
            async with ctx["db"].get_session() as session:
                await session.execute(text("INSERT INTO effect DEFAULT VALUES"))
            try:
                async with asyncio.timeout(0.05), ctx["db"].get_session() as session:
                    await session.execute(text("SELECT pg_sleep(30)"))
            except TimeoutError:
                return "fallback"
            return "slow"

        view = await drain_until_settled(client, await client.enqueue(limits), drain)
        assert (view.state, view.attempt, view.tries) == (TaskState.FAILED, 2, 2)
        assert view.errors[0].error_type == "UnitOfWorkLost"
        assert "CancelledError" in view.errors[0].traceback
        left = await db.execute_once(text("SELECT count(*) FROM effect"), {})
        assert left.scalar_one() == 0

    async def test_a_connection_that_was_cut_after_something_had_joined_burns_no_try(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("cut", max_tries=1, registry=registry)
        async def cut(ctx: TaskContext) -> str:
            async with ctx["db"].get_session() as session:
                await session.execute(text("SELECT 1"))
            try:
                await terminated(ctx)
            except Exception:
                return "goes on"
            return "?"

        handle = await client.enqueue(cut)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.tries) == (TaskState.QUEUED, 0)


class TestWhatCannotBeWritten:
    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: Snooze(float("inf")), r"ValueError: Snooze\(inf\)"),
            (lambda: Retry(float("nan")), r"ValueError: Retry\(nan\)"),
        ],
    )
    async def test_a_delay_that_is_no_time_is_a_failure_that_names_it(
        self, make: Callable[[], Exception], said: str, client: TaskClient, registry: Registry,
        drain: Drain,
    ) -> None:  # fmt: skip
        @task("odd", max_tries=1, registry=registry)
        async def odd(ctx: TaskContext) -> None:
            raise make()

        handle = await client.enqueue(odd)
        await drain()
        with pytest.raises(TaskFailed, match=said):
            await handle.result(10)

    async def test_an_outcome_that_postgres_refuses_fails_its_task_in_plain_words(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        # As a database whose encoding does not have every character.
        await db.execute_once(
            text("ALTER TABLE task_error ADD CHECK (octet_length(message) = length(message))"), {}
        )

        @task("odd", max_tries=3, registry=registry)
        async def odd(ctx: TaskContext) -> None:
            raise ValueError("too much: 3 €")

        handle = await client.enqueue(odd)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.tries) == (TaskState.FAILED, 1)
        (error,) = view.errors
        assert error.error_type == "OutcomeRefused"
        assert "CheckViolationError" in error.message
        assert r"Retrying ValueError: too much: 3 \u20ac" in error.message
        assert AWAY not in caplog.text

    @pytest.mark.parametrize("held", ["a snooze", "a lost connection"])
    async def test_not_even_a_hand_back_that_is_refused_goes_on_for_ever(
        self, held: str, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        await db.execute_once(
            text("ALTER TABLE task ADD CHECK (state NOT IN ('scheduled', 'queued') "
                 "OR attempt = 0)"), {},
        )  # fmt: skip

        @task("odd", registry=registry)
        async def odd(ctx: TaskContext) -> None:
            if held == "a snooze":
                raise Snooze(5)
            await terminated(ctx)

        handle = await client.enqueue(odd)
        await drain()
        with pytest.raises(TaskFailed, match="OutcomeRefused: the outcome of attempt 1"):
            await handle.result(10)

    async def test_a_task_whose_start_is_refused_keeps_nobody_else_from_starting(
        self, db: Database, client: TaskClient, registry: Registry, settings: Settings,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        await db.execute_once(
            text("ALTER TABLE task ADD CHECK (state <> 'running' OR name <> 'refused')"), {}
        )

        @task("refused", registry=registry)
        async def refused(ctx: TaskContext) -> None: ...

        @task("innocent", registry=registry)
        async def innocent(ctx: TaskContext) -> str:
            return "done"

        async with client.db.get_session() as session:
            bad = await refused.enqueue(session)
            good = [await innocent.enqueue(session) for _ in range(3)]
        await client.flush()
        _, worker = task_worker(TaskWorker, settings, registry, burst=False, poll_delay=0.01)
        running = asyncio.create_task(worker.async_run())
        assert [await handle.result(10) for handle in good] == ["done"] * 3
        with pytest.raises(TaskFailed, match="StartRefused: .*CheckViolationError"):
            await bad.result(10)
        with contextlib.suppress(asyncio.CancelledError):
            running.cancel()
            await running
        await worker.close()
        assert AWAY not in caplog.text

    async def test_a_task_whose_attempts_are_all_used_up_fails_without_one(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("old", registry=registry)
        async def old(ctx: TaskContext) -> None: ...

        handle = await client.enqueue(old)
        await db.execute_once(text("UPDATE task SET attempt = 2147483647"), {})
        await drain()
        with pytest.raises(TaskFailed, match="StartRefused: .*integer out of range"):
            await handle.result(10)
        assert (await view_of(client, handle)).tries == 0

    async def test_a_task_whose_tries_are_all_used_up_fails_without_one_more(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("old", max_tries=2_147_483_647 + 9, registry=registry)
        async def old(ctx: TaskContext) -> None:
            raise ValueError("once more")

        handle = await client.enqueue(old)
        await db.execute_once(text("UPDATE task SET tries = 2147483647"), {})
        await drain()
        with pytest.raises(TaskFailed, match="OutcomeRefused: .*integer out of range"):
            await handle.result(10)

    @pytest.mark.parametrize("condition", ["state = 'queued'", "settled_at IS NULL"])
    async def test_what_can_be_neither_started_nor_failed_is_finished_in_redis(
        self, condition: str, db: Database, client: TaskClient, registry: Registry, drain: Drain,
        redis: RedisClient, settings: Settings, caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        runs: list[int] = []

        @task("stuck", registry=registry)
        async def stuck(ctx: TaskContext) -> str:
            runs.append(1)
            raise Cancel

        handle = await client.enqueue(stuck)
        await db.execute_once(text(f"ALTER TABLE task ADD CONSTRAINT c CHECK ({condition})"), {})
        await drain()
        assert await redis.zcard("arq:queue") == 0
        assert f"task {handle.id} cannot be failed (CheckViolationError" in caplog.text
        await db.execute_once(text(LONG_AGO), {})
        await db.execute_once(text(STILL_THERE), {})
        presence = Presence(db, "me", settings, running=list)
        rescuer = Rescuer(db, redis, settings, presence, wake_relay=lambda: None)
        assert await rescuer.refill() == 0  # it does not bring it back
        await db.execute_once(text("ALTER TABLE task DROP CONSTRAINT c"), {})
        await rescuer.refill()  # and writes down what is to be written as soon as it can be
        assert await handle.status() is TaskState.FAILED
        assert len(runs) == (condition == "settled_at IS NULL")

    @pytest.mark.parametrize(
        ("error", "away"),
        [
            (asyncpg.ConnectionDoesNotExistError("in the middle of operation"), True),
            (asyncpg.TooManyConnectionsError("too many"), True),
            (ServerUnreachable("refused"), True),
            (asyncpg.DeadlockDetectedError("deadlock"), False),
            (asyncpg.CheckViolationError("a row"), False),
            (asyncpg.QueryCanceledError("a time limit"), False),
            (KeyError("a mistake of ours"), False),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_postgres_is_away_if_its_connection_is_and_for_nothing_else(
        self, error: Exception, away: bool
    ) -> None:
        suspended: list[int] = []
        runtime: Any = SimpleNamespace(
            suspend=lambda: suspended.append(1), spread=lambda low, high: low
        )
        delivery = Delivery("x", "x", None, (), {}, 0, 0, 1)
        with pytest.raises(arq.Retry), handing_back(runtime, delivery):
            raise error
        assert bool(suspended) is away

    async def test_a_stock_clients_job_that_postgres_refuses_is_finished_with_the_reason(
        self, redis: RedisClient, registry: Registry, drain: Drain,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        @task("foreign", registry=registry)
        async def foreign(ctx: TaskContext) -> None: ...

        job = scripts.Job("a\x00b", "arq:queue", 1, 0, codec.rowless_payload("foreign", b"{}", 1))
        await scripts.push(scripts.caller(redis), [job])
        await drain()
        assert await redis.zcard("arq:queue") == 0
        result = codec.deserialize(await redis.get("arq:result:a\x00b"))
        assert result["s"] is False
        assert "Postgres does not take this job" in str(result["r"])
        assert AWAY not in caplog.text
        assert "\x00" not in caplog.text
        assert not [record for record in caplog.records if record.levelno >= logging.CRITICAL]


class TestInterruptions:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: ValueError("in its cleanup"),
            lambda: Retry(0),
            lambda: PanicException("in its cleanup"),
            lambda: Cancel("so be it"),
        ],
    )
    @pytest.mark.parametrize("durable", [True, False])
    async def test_whatever_a_function_makes_of_its_interruption_is_no_failure(
        self, make: Callable[[], BaseException], durable: bool, client: TaskClient,
        registry: Registry, drain: Drain, interrupt_all: Callable[[], None],
    ) -> None:  # fmt: skip
        runs: list[int] = []

        @task("converts", max_tries=1, durable=durable, registry=registry)
        async def converts(ctx: TaskContext) -> str:
            runs.append(1)
            if len(runs) > 1:
                return "done"
            interrupt_all()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise make() from None
            return "?"

        handle = await client.enqueue(converts)
        for _ in range(5):
            await drain()
        assert await handle.result(10) == "done"

    @pytest.mark.parametrize("durable", [True, False])
    async def test_who_is_interrupted_goes_back_to_where_it_stood(
        self,
        durable: bool,
        client: TaskClient,
        registry: Registry,
        drain: Drain,
        interrupt_all: Callable[[], None],
    ) -> None:
        places: list[int] = []

        @task("interrupted", durable=durable, registry=registry)
        async def interrupted(ctx: TaskContext) -> None:
            places.append(ctx["score"])
            if len(places) == 1:
                interrupt_all()
                await asyncio.Event().wait()

        await client.enqueue(interrupted.options(priority=7))
        for _ in range(3):
            await drain()
        assert len(places) == 2
        assert places[0] == places[1]

    async def test_who_is_kept_out_by_a_suspect_goes_back_to_where_it_stood(
        self, db: Database
    ) -> None:
        finished: list[tuple[Held, Finish]] = []
        engine: Any = SimpleNamespace(
            ctx={}, jobs_retried=0, finish=lambda *given: finished.append(given)
        )
        runtime: Any = SimpleNamespace(db=db, solo=Solo(), pauses=Pauses())
        batches, held = Batches(engine, runtime, None), Held("x", "arq:queue", 1234, b"", uuid4())
        one = Delivered(held, Delivery("x", "x", None, (), {}, 1234, 0, 1), uuid4())
        async with runtime.solo.alone(60):
            work = partial(batches._one_by_one, one)
            await answered(engine, runtime, held, one.delivery, work)
        assert finished == [(held, Finish("arq:queue", "x", "", "again", -1234))]

    async def test_a_function_that_returns_in_spite_of_it_has_completed(
        self,
        client: TaskClient,
        registry: Registry,
        drain: Drain,
        interrupt_all: Callable[[], None],
    ) -> None:
        @task("returns", registry=registry)
        async def returns(ctx: TaskContext) -> str:
            interrupt_all()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "what there was"
            return "?"

        handle = await client.enqueue(returns)
        await drain()
        assert await handle.result(10) == "what there was"

    @pytest.mark.parametrize("durable", [True, False])
    async def test_a_function_that_cancels_itself_does_not_run_for_ever(
        self, durable: bool, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        runs: list[int] = []

        @task("suicidal", max_tries=1, durable=durable, registry=registry)
        async def suicidal(ctx: TaskContext) -> None:
            runs.append(1)
            own = asyncio.current_task()
            assert own is not None
            own.cancel()
            await asyncio.sleep(0)

        handle = await client.enqueue(suicidal)
        for _ in range(2 * MOST_SETBACKS):
            await drain()
        with pytest.raises(TaskFailed, match="RepeatedSetback: 5 attempts .*by CancelledError"):
            await handle.result(10)
        assert len(runs) == MOST_SETBACKS


async def test_a_task_that_empties_its_context_harms_itself_alone(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("empties", registry=registry)
    async def empties(ctx: TaskContext) -> str:
        ctx.clear()  # type: ignore[attr-defined]
        return "done"

    @task("empties.and.fails", max_tries=1, registry=registry)
    async def empties_and_fails(ctx: TaskContext) -> None:
        ctx.clear()  # type: ignore[attr-defined]
        raise ValueError("its own")

    done = await client.enqueue(empties)
    failed = await client.enqueue(empties_and_fails)
    await drain()
    assert await done.result(10) == "done"
    with pytest.raises(TaskFailed, match="its own"):
        await failed.result(10)
