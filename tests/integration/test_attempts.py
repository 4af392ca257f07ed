"""Outcomes and retries, timeouts, and what the guards refuse."""

import asyncio
import json
import logging
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, ConfigDict, computed_field
from pydantic.alias_generators import to_camel
from sqlalchemy import text

from tests.conftest import Drain
from tests.contexts import id_of
from uow import (
    Backoff,
    Cancel,
    Database,
    Retry,
    Settings,
    Snooze,
    TaskCancelled,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskState,
    task,
)
from uow.broker import codec, keys, scripts
from uow.broker.redis import RedisClient
from uow.db import interventions
from uow.host import Process
from uow.tasks.handle import TaskHandle, TaskView
from uow.tasks.registry import Registry

AT_ONCE = Backoff(base=0)


async def view_of(client: TaskClient, handle: TaskHandle[Any]) -> TaskView:
    view = await client.get(handle.id)
    assert view is not None
    return view


async def drain_until_settled(
    client: TaskClient, handle: TaskHandle[Any], drain: Drain
) -> TaskView:
    while not (view := await view_of(client, handle)).state.settled:
        await drain()
    return view


class Order(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    order_id: UUID
    placed_at: datetime
    prices: dict[str, Decimal]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> Decimal:
        return sum(self.prices.values(), Decimal())


class TestValues:
    @pytest.mark.parametrize("durable", [True, False])
    async def test_a_function_gets_what_was_given_and_its_result_comes_back_as_it_was(
        self, durable: bool, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        got: list[tuple[Order, set[int]]] = []

        @task("values", durable=durable, registry=registry)
        async def values(ctx: TaskContext, order: Order, lines: set[int]) -> Order:
            got.append((order, lines))
            return order

        given = Order.model_validate(
            {"orderId": uuid4(), "placedAt": datetime.now(UTC), "prices": {"a": "1.50"}}
        )
        handle = await client.enqueue(values, order=given, lines={1, 2})
        await drain()
        assert got == [(given, {1, 2})]
        if durable:
            assert await handle.result(10) == given

    @pytest.mark.parametrize("durable", [True, False])
    async def test_dicts_keep_their_order_on_the_way_there_and_back(
        self, durable: bool, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        given = {"zebra": 1, "ant": {"b": 1, "a": 2, "aa": 3}, "bee": [{"y": 0, "x": 1}], "a": 0}
        got: list[str] = []

        @task("ordered", durable=durable, registry=registry)
        async def ordered(ctx: TaskContext, columns: dict[str, Any], also: dict[str, int]) -> Any:
            got.append(json.dumps([columns, also]))
            if durable:
                await ctx["task"].report(**columns)
            return columns

        handle = await client.enqueue(ordered, also={"z": 1, "a": 2}, columns=given)
        await drain()
        assert got == [json.dumps([given, {"z": 1, "a": 2}])]
        if durable:
            view = await client.get(handle.id)
            assert view is not None
            assert json.dumps(await handle.result(10)) == json.dumps(given)
            assert json.dumps([view.result, view.progress]) == json.dumps([given, given])
            assert json.dumps(view.args["columns"]) == json.dumps(given)

    async def test_a_result_that_would_come_back_changed_fails_the_task(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("values", max_tries=1, registry=registry)
        async def values(ctx: TaskContext) -> dict[str, Any]:
            return {"at": datetime.now(UTC)}

        handle = await client.enqueue(values)
        await drain()
        with pytest.raises(TaskFailed, match="InvalidResult: values: the result: at: a datetime"):
            await handle.result(10)


class TestRetries:
    async def test_every_exception_is_retried_up_to_max_tries_and_each_error_is_kept(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("fails", max_tries=3, backoff=AT_ONCE, registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise ValueError(f"attempt {ctx['task'].attempt}")

        handle = await client.enqueue(fails)
        view = await drain_until_settled(client, handle, drain)
        assert (view.state, view.attempt, view.tries) == (TaskState.FAILED, 3, 3)
        assert [error.message for error in view.errors] == ["attempt 1", "attempt 2", "attempt 3"]
        assert all("test_attempts.py" in error.traceback for error in view.errors)

    async def test_the_default_is_five_tries(self, registry: Registry) -> None:
        @task("default", registry=registry)
        async def default(ctx: TaskContext) -> None: ...

        assert default.policy.max_tries == 5

    async def test_a_later_try_may_succeed(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("third.time", backoff=AT_ONCE, registry=registry)
        async def third_time(ctx: TaskContext) -> int:
            if ctx["task"].tries < 2:
                raise ConnectionError("the mail server is away")
            return ctx["task"].attempt

        handle = await client.enqueue(third_time)
        await drain_until_settled(client, handle, drain)
        assert await handle.result(10) == 3

    async def test_between_two_tries_a_task_is_retrying_and_not_due(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("fails", backoff=Backoff(base=30, jitter=0), registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise ValueError

        handle = await client.enqueue(fails)
        await drain()
        view = await view_of(client, handle)
        assert view.state is TaskState.RETRYING
        assert view.started_at is not None
        assert 29 < (view.run_at - view.started_at).total_seconds() < 31

    async def test_a_long_backoff_waits_in_postgres(
        self, client: TaskClient, registry: Registry, drain: Drain, redis: RedisClient
    ) -> None:
        @task("fails", backoff=Backoff(base=3600, cap=3600), registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise ValueError

        handle = await client.enqueue(fails)
        await drain()
        assert await handle.status() is TaskState.RETRYING
        assert await redis.zcard("arq:queue") == 0

    async def test_an_exception_listed_as_final_fails_at_once(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("final", final=(LookupError,), registry=registry)
        async def final(ctx: TaskContext) -> None:
            raise KeyError("gone")

        handle = await client.enqueue(final)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.tries) == (TaskState.FAILED, 1)

    async def test_retry_on_purpose_waits_as_long_as_it_says_and_counts(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("again", registry=registry)
        async def again(ctx: TaskContext) -> str:
            if ctx["task"].tries == 0:
                raise Retry(delay=0, reason="not yet")
            return "done"

        handle = await client.enqueue(again)
        view = await drain_until_settled(client, handle, drain)
        assert (view.result, view.attempt, view.tries) == ("done", 2, 1)
        assert view.errors[0].message == "not yet"

    async def test_snooze_runs_again_and_does_not_count(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("snoozes", max_tries=1, registry=registry)
        async def snoozes(ctx: TaskContext) -> str:
            if ctx["task"].attempt < 3:
                raise Snooze(0)
            return "done"

        handle = await client.enqueue(snoozes)
        view = await drain_until_settled(client, handle, drain)
        assert (view.result, view.attempt, view.tries, view.errors) == ("done", 3, 0, ())

    async def test_cancel_on_purpose_settles_as_cancelled_and_keeps_the_reason(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("cancels", registry=registry)
        async def cancels(ctx: TaskContext) -> None:
            raise Cancel("nobody needs it any more")

        handle = await client.enqueue(cancels)
        await drain()
        with pytest.raises(TaskCancelled, match="was cancelled: nobody needs it any more"):
            await handle.result(10)
        assert (await view_of(client, handle)).errors[0].message == "nobody needs it any more"

    async def test_the_reason_of_an_earlier_cancel_is_not_that_of_a_later_one(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("cancels", registry=registry)
        async def cancels(ctx: TaskContext) -> None:
            raise Cancel("nobody needs it any more")

        handle = await client.enqueue(cancels)
        await drain()
        assert await handle.retry()
        assert await handle.cancel()
        with pytest.raises(TaskCancelled, match="was cancelled$"):
            await handle.result(10)

    @pytest.mark.parametrize("sqlstate", ["40001", "40P01", "53300", "57P01", "08006"])
    async def test_infrastructure_errors_burn_no_try_and_settle_nothing(
        self, sqlstate: str, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("unlucky", max_tries=1, registry=registry)
        async def unlucky(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(
                    text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$")
                )

        handle = await client.enqueue(unlucky)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.attempt, view.tries) == (TaskState.QUEUED, 1, 0)

    async def test_a_connection_that_cannot_be_made_burns_no_try(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("unlucky", max_tries=1, registry=registry)
        async def unlucky(ctx: TaskContext) -> None:
            async with (
                Database("postgresql://127.0.0.1:1/restarting") as db,
                db.get_session() as session,
            ):
                await session.execute(text("SELECT 1"))

        handle = await client.enqueue(unlucky)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.tries) == (TaskState.QUEUED, 0)

    async def test_a_connection_error_of_user_code_counts(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("their.server", max_tries=1, registry=registry)
        async def their_server(ctx: TaskContext) -> None:
            raise ConnectionRefusedError("the mail server is away")

        handle = await client.enqueue(their_server)
        await drain()
        assert await handle.status() is TaskState.FAILED

    async def test_an_ordinary_sql_error_counts(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("wrong", max_tries=1, registry=registry)
        async def wrong(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(text("SELECT 1/0"))

        handle = await client.enqueue(wrong)
        await drain()
        with pytest.raises(TaskFailed, match="division by zero"):
            await handle.result(10)

    async def test_a_task_without_a_row_is_retried_too(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        tries: list[int] = []

        @task("plain", durable=False, max_tries=3, backoff=AT_ONCE, registry=registry)
        async def plain(ctx: TaskContext) -> None:
            tries.append(ctx["task"].tries)
            raise ValueError("no good")

        handle = await client.enqueue(plain)
        while len(tries) < 3:
            await drain()
        with pytest.raises(TaskFailed, match="ValueError: no good"):
            await handle.result(10)
        assert tries == [0, 1, 2]


class TestLimits:
    async def test_a_timeout_is_a_failure_that_says_so(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("slow", timeout=0.05, max_tries=1, registry=registry)
        async def slow(ctx: TaskContext) -> None:
            await asyncio.Event().wait()

        handle = await client.enqueue(slow)
        await drain()
        with pytest.raises(TaskFailed, match="TaskTimeout: slow ran longer than 0.05 s"):
            await handle.result(10)

    async def test_a_timeout_in_a_query_rolls_back_and_frees_the_connection(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        await db.execute_once(text("CREATE TABLE effect ()"), {})

        @task("slow", timeout=0.2, max_tries=1, registry=registry)
        async def slow(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(text("INSERT INTO effect DEFAULT VALUES"))
                await session.execute(text("SELECT pg_sleep(30)"))

        handle = await client.enqueue(slow)
        await drain()
        assert await handle.status() is TaskState.FAILED
        left = await db.execute_once(text("SELECT count(*) FROM effect"), {})
        assert left.scalar_one() == 0

    async def test_a_result_that_is_not_json_fails_the_task_and_rolls_back(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        await db.execute_once(text("CREATE TABLE effect ()"), {})

        @task("odd", registry=registry)
        async def odd(ctx: TaskContext) -> Any:
            async with ctx["db"].get_session() as session:
                await session.execute(text("INSERT INTO effect DEFAULT VALUES"))
            return lambda: None

        handle = await client.enqueue(odd)
        await drain()
        with pytest.raises(TaskFailed, match="InvalidResult: odd: the result: Unable to serialize"):
            await handle.result(10)
        assert (await view_of(client, handle)).tries == 1
        left = await db.execute_once(text("SELECT count(*) FROM effect"), {})
        assert left.scalar_one() == 0

    async def test_a_result_of_the_wrong_type_fails_the_task(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("wrong", registry=registry)
        async def wrong(ctx: TaskContext) -> int:
            return "many"  # type: ignore[return-value]

        handle = await client.enqueue(wrong)
        await drain()
        with pytest.raises(TaskFailed, match="InvalidResult"):
            await handle.result(10)

    @pytest.mark.parametrize("value", ["x" * 1_100_000, "a\x00b", "\ud800"])
    async def test_a_result_that_cannot_be_stored_fails_the_task(
        self, value: str, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("bad.result", registry=registry)
        async def bad_result(ctx: TaskContext) -> str:
            return value

        handle = await client.enqueue(bad_result)
        await drain()
        assert await handle.status() is TaskState.FAILED

    async def test_an_error_with_a_nul_is_stored_readably(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("odd", max_tries=1, registry=registry)
        async def odd(ctx: TaskContext) -> None:
            raise ValueError("a\x00b")

        handle = await client.enqueue(odd)
        await drain()
        assert (await view_of(client, handle)).errors[0].message == "a\\x00b"

    async def test_awaiting_what_was_cancelled_is_a_failure_and_no_interruption(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("awaits", max_tries=1, registry=registry)
        async def awaits(ctx: TaskContext) -> None:
            helper = asyncio.create_task(asyncio.sleep(60))
            helper.cancel()
            await helper

        handle = await client.enqueue(awaits)
        await drain()
        with pytest.raises(TaskFailed, match="awaits awaited something that was cancelled"):
            await handle.result(10)

    async def test_sys_exit_fails_the_task_and_not_the_worker(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("exits", max_tries=1, registry=registry)
        async def exits(ctx: TaskContext) -> None:
            raise SystemExit(3)

        handle = await client.enqueue(exits)
        await drain()
        with pytest.raises(TaskFailed, match=r"exits called sys.exit\(3\)"):
            await handle.result(10)


class TestGuards:
    async def test_a_job_delivered_after_its_task_was_settled_is_finished_without_running(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        runs: list[int] = []

        @task("once", registry=registry)
        async def once(ctx: TaskContext) -> None:
            runs.append(1)

        handle = await client.enqueue(once)
        await drain()
        again = scripts.Job(
            str(handle.id), "arq:queue", 1, 0, codec.durable_payload("once", str(handle.id), 1)
        )
        await scripts.push(scripts.caller(client.redis), [again])
        await drain()
        assert runs == [1]
        assert await client.redis.zcard("arq:queue") == 0

    async def test_of_two_attempts_at_once_only_one_leaves_its_effects(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        """Remove the guard of the completion and this fails."""
        await db.execute_once(text("CREATE TABLE effect ()"), {})
        both_inside = asyncio.Barrier(2)

        @task("twice", registry=registry)
        async def twice(ctx: TaskContext) -> int:
            async with ctx["db"].get_session() as session:
                await session.execute(text("INSERT INTO effect DEFAULT VALUES"))
            await both_inside.wait()
            return ctx["task"].attempt

        handle = await client.enqueue(twice)
        await client.flush()
        copy = scripts.Job(
            "copy", "arq:queue", 1, 0, codec.durable_payload("twice", str(handle.id), 1)
        )
        await scripts.push(scripts.caller(client.redis), [copy])
        await drain()
        assert await handle.status() is TaskState.SUCCEEDED
        effects = await db.execute_once(text("SELECT count(*) FROM effect"), {})
        assert effects.scalar_one() == 1

    async def test_an_attempt_whose_task_was_cancelled_meanwhile_leaves_nothing(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        await db.execute_once(text("CREATE TABLE effect ()"), {})

        @task("cancelled", registry=registry)
        async def cancelled(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(text("INSERT INTO effect DEFAULT VALUES"))
            await interventions.cancel(db, id_of(ctx), 60.0)

        handle = await client.enqueue(cancelled)
        await drain()
        assert await handle.status() is TaskState.CANCELLED
        effects = await db.execute_once(text("SELECT count(*) FROM effect"), {})
        assert effects.scalar_one() == 0

    async def test_cancelling_a_running_task_interrupts_its_function(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        running = asyncio.Event()
        ended: list[str] = []

        @task("endless", registry=registry)
        async def endless(ctx: TaskContext) -> None:
            running.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("interrupted")
                raise

        handle = await client.enqueue(endless)
        worker = asyncio.ensure_future(drain())
        await running.wait()
        assert await handle.cancel()
        await worker
        assert ended == ["interrupted"]
        assert await handle.status() is TaskState.CANCELLED

    async def test_a_marked_job_without_a_row_is_finished_without_running(
        self, redis: RedisClient, registry: Registry, drain: Drain
    ) -> None:
        runs: list[int] = []

        @task("once", registry=registry)
        async def once(ctx: TaskContext) -> None:
            runs.append(1)

        row_id = str(uuid4())
        job = scripts.Job(row_id, "arq:queue", 1, 0, codec.durable_payload("once", row_id, 1))
        await scripts.push(scripts.caller(redis), [job])
        await drain()
        assert runs == []
        assert await redis.zcard("arq:queue") == 0

    async def test_the_row_decides_which_function_runs_and_with_what(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        ran: list[str] = []

        @task("harmless", registry=registry)
        async def harmless(ctx: TaskContext, n: int) -> None:
            ran.append(f"harmless {n}")

        @task("dangerous", registry=registry)
        async def dangerous(ctx: TaskContext, n: int) -> None:
            ran.append(f"dangerous {n}")

        handle = await client.enqueue(harmless, n=1)
        await client.flush()
        forged = codec.to_bytes(
            {"t": None, "f": "dangerous", "a": (), "k": {"$row": str(handle.id), "n": 2}, "et": 1}
        )
        await client.redis.set(f"arq:job:{handle.id}", forged)
        await drain()
        assert ran == ["harmless 1"]

    async def test_a_task_that_is_not_due_is_handed_back(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        runs: list[int] = []

        @task("later", registry=registry)
        async def later(ctx: TaskContext) -> None:
            runs.append(1)

        handle = await client.enqueue(later)
        await client.flush()
        await db.execute_once(text("UPDATE task SET run_at = now() + interval '30 s'"), {})
        await drain()
        assert runs == []
        score = await client.redis.zscore("arq:queue", str(handle.id))
        assert score > 0
        assert await handle.status() is TaskState.QUEUED


class TestStrays:
    async def push_raw(self, redis: RedisClient, job_id: str, payload: bytes) -> None:
        await redis.set(f"arq:job:{job_id}", payload)
        await redis.zadd("arq:queue", {job_id: 1})

    @pytest.mark.parametrize(
        "payload",
        [b"\x80\x04\x95garbage", b"not json", b"[]", b'{"f": 1}', b"\xff\xfe", b'{"f":"x"}', b"{"],
    )
    async def test_garbage_settles_its_row_as_failed_and_disturbs_nothing_else(
        self, payload: bytes, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("fine", registry=registry)
        async def fine(ctx: TaskContext) -> str:
            return "fine"

        broken, sound = await client.enqueue(fine), await client.enqueue(fine)
        await client.flush()
        await self.push_raw(client.redis, str(broken.id), payload)
        await self.push_raw(client.redis, "nobody-s", payload)
        await drain()
        with pytest.raises(TaskFailed, match="UndecodablePayload"):
            await broken.result(10)
        assert await sound.result(10) == "fine"
        with pytest.raises(TaskFailed, match="UndecodablePayload"):
            raise codec.deserialize(await client.redis.get("arq:result:nobody-s"))["r"]

    @pytest.mark.parametrize("durable", [True, False])
    async def test_a_number_of_the_try_that_is_none_fails_its_job_and_stops_no_worker(
        self, client: TaskClient, registry: Registry, drain: Drain, durable: bool
    ) -> None:
        @task("fine", registry=registry, durable=durable)
        async def fine(ctx: TaskContext) -> str:
            return "fine"

        stranger = await client.redis.enqueue_job("fine", _job_try="2")  # type: ignore[arg-type]
        sound = await client.enqueue(fine)
        await drain()
        assert await sound.result(10) == "fine"
        assert stranger is not None
        with pytest.raises(TaskFailed, match="the payload's number of the try is no number"):
            await stranger.result(timeout=1, poll_delay=0.01)

    async def test_pickle_is_never_loaded(
        self, client: TaskClient, registry: Registry, drain: Drain, tmp_path: Any
    ) -> None:
        import os
        import pickle

        class Exploit:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "owned"),)

        @task("fine", registry=registry)
        async def fine(ctx: TaskContext) -> None: ...

        await self.push_raw(client.redis, "exploit", pickle.dumps(Exploit()))
        await drain()
        assert not (tmp_path / "owned").exists()

    async def test_an_unknown_name_is_handed_back_and_burns_no_try(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("known", registry=registry)
        async def known(ctx: TaskContext) -> None: ...

        handle = await client.enqueue("of.the.next.version")
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.attempt, view.tries) == (TaskState.QUEUED, 0, 0)

        @task("of.the.next.version", registry=registry)
        async def next_version(ctx: TaskContext) -> str:
            return "deployed"

        await client.redis.zadd("arq:queue", {str(handle.id): 1})
        await drain()
        assert await handle.result(10) == "deployed"

    @pytest.mark.parametrize(("waited", "pause"), [(0, 1), (10, 10), (600, 30)])
    async def test_an_unknown_name_is_delivered_more_and_more_rarely(
        self, waited: int, pause: int, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("known", registry=registry)
        async def known(ctx: TaskContext) -> None: ...

        handle = await client.enqueue("of.the.next.version")
        await client.db.execute_once(
            text("UPDATE task SET unknown_since = now() - make_interval(secs => :waited)"),
            {"waited": float(waited)},
        )
        began = time.time()
        await drain()
        ended = time.time()
        score = await client.redis.zscore("arq:queue", str(handle.id))
        assert score is not None
        slow = ended - began  # it has waited for so much longer by then
        assert began + pause <= score / 1000 <= ended + pause + slow + 0.5

    async def test_an_unknown_name_fails_after_the_grace(
        self, client: TaskClient, registry: Registry, drain: Drain, settings: Settings
    ) -> None:
        @task("known", registry=registry)
        async def known(ctx: TaskContext) -> None: ...

        object.__setattr__(settings, "unknown_task_grace", 0.0)
        handle = await client.enqueue("knwon")
        await drain()
        with pytest.raises(TaskFailed, match="UnknownTask.*did you mean known"):
            await handle.result(10)

    async def test_the_grace_of_an_unknown_name_begins_when_a_worker_first_meets_it(
        self, client: TaskClient, registry: Registry, drain: Drain, settings: Settings
    ) -> None:
        @task("known", registry=registry)
        async def known(ctx: TaskContext) -> None: ...

        waited = {"waited": settings.unknown_task_grace + 60}
        handle = await client.enqueue("of.the.next.version")
        backlog = "UPDATE task SET {} = now() - make_interval(secs => :waited)"
        await client.db.execute_once(text(backlog.format("run_at")), waited)
        await drain()
        assert (await view_of(client, handle)).state is TaskState.QUEUED

        await client.db.execute_once(text(backlog.format("unknown_since")), waited)
        await client.redis.zadd("arq:queue", {str(handle.id): 1})
        await drain()
        with pytest.raises(TaskFailed, match="UnknownTask"):
            await handle.result(10)

    async def test_the_grace_begins_anew_when_a_worker_has_known_the_name_in_between(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("known", max_tries=2, backoff=Backoff(base=3600.0, cap=3600.0), registry=registry)
        async def known(ctx: TaskContext) -> None:
            raise ValueError("again")

        handle = await client.enqueue(known)
        await client.db.execute_once(text("UPDATE task SET unknown_since = now()"), {})
        await drain()
        assert (await view_of(client, handle)).state is TaskState.RETRYING
        since = await client.db.execute_once(text("SELECT unknown_since FROM task"), {})
        assert since.scalar_one() is None

    async def test_the_grace_of_a_stock_clients_job_begins_when_a_worker_first_meets_it(
        self, client: TaskClient, registry: Registry, drain: Drain, settings: Settings
    ) -> None:
        @task("known", registry=registry)
        async def known(ctx: TaskContext) -> None: ...

        async def deliver() -> bytes | None:
            await client.redis.zadd("arq:queue", {"old": 1})
            await drain()
            found: bytes | None = await client.redis.get(keys.result("old"))
            return found

        two_hours_ago = int(time.time() * 1000) - 7_200_000
        payload: dict[str, object]
        payload = {"t": None, "f": "of.the.next.version", "a": [], "k": {}, "et": two_hours_ago}
        await self.push_raw(client.redis, "old", codec.to_bytes(payload))
        assert await deliver() is None
        (sighting,) = await client.redis.keys(keys.unknown("*"))
        await client.redis.set(sighting, two_hours_ago)
        assert b"UnknownTask" in (await deliver() or b"")


class Secretive(BaseModel):
    password: str


async def test_arguments_and_results_do_not_reach_the_log(
    client: TaskClient, registry: Registry, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    @task("secretive", registry=registry)
    async def secretive(ctx: TaskContext, it: Secretive) -> Secretive:
        return it

    @task("plainly", durable=False, registry=registry)
    async def plainly(ctx: TaskContext, it: Secretive) -> Secretive:
        return it

    caplog.set_level(logging.DEBUG)
    for function in (secretive, plainly):
        await client.enqueue(function, it=Secretive(password="canary-4711"))
    with pytest.raises(Exception, match="password"):
        await client.enqueue(secretive, it={"pasword": "canary-4711"})  # type: ignore[call-overload]
    await drain()
    assert "secretive(" in caplog.text
    assert "canary-4711" not in caplog.text


async def test_a_failure_is_logged_once_with_the_functions_traceback(
    client: TaskClient, registry: Registry, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    @task("fails", max_tries=1, registry=registry)
    async def fails(ctx: TaskContext) -> None:
        raise ValueError("no good")

    await client.enqueue(fails)
    await drain()
    traced = [record for record in caplog.records if record.exc_info]
    assert [record.name for record in traced] == ["uow.attempt.settle"]
    assert caplog.text.count('raise ValueError("no good")') == 1


@pytest.mark.parametrize("durable", [True, False])
async def test_a_last_retry_on_purpose_is_logged_in_one_line_without_a_traceback(
    durable: bool,
    client: TaskClient,
    registry: Registry,
    drain: Drain,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @task("asks", max_tries=1, durable=durable, registry=registry)
    async def asks(ctx: TaskContext) -> None:
        raise Retry(delay=60, reason="the shop is closed")

    await client.enqueue(asks)
    await drain()
    (said,) = [
        record
        for record in caplog.records
        if record.levelno == logging.ERROR and record.name.startswith("uow.")
    ]
    assert said.exc_info is None
    assert "failed for good" in said.message
    assert "Retry: the shop is closed" in said.message


async def test_a_retry_that_an_error_led_to_is_logged_with_the_errors_traceback(
    client: TaskClient, registry: Registry, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    @task("asks", max_tries=1, registry=registry)
    async def asks(ctx: TaskContext) -> None:
        try:
            raise ValueError("no good")
        except ValueError as error:
            raise Retry from error

    await client.enqueue(asks)
    await drain()
    assert caplog.text.count('raise ValueError("no good")') == 1


async def test_a_report_of_progress_has_a_size_limit(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("reports", max_tries=1, registry=registry)
    async def reports(ctx: TaskContext) -> None:
        await ctx["task"].report(text="x" * 8_000)
        await ctx["task"].report(text="x" * 9_000)

    handle = await client.enqueue(reports)
    await drain()
    with pytest.raises(TaskFailed, match="PayloadTooLarge: reports: progress of 9,011 bytes"):
        await handle.result(10)
    assert (await view_of(client, handle)).progress == {"text": "x" * 8_000}


async def test_an_attempt_whose_task_was_cancelled_is_not_logged_as_handed_back(
    client: TaskClient, registry: Registry, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    @task("waits", registry=registry)
    async def waits(ctx: TaskContext) -> None:
        assert await client.cancel(ctx["task"].id or uuid4())
        await asyncio.Event().wait()

    caplog.set_level(logging.INFO)
    handle = await client.enqueue(waits)
    await drain()
    assert await handle.status() is TaskState.CANCELLED
    told = [record for record in caplog.records if record.name.startswith("uow.attempt.")]
    assert [record.levelname for record in told] == ["INFO", "INFO"]
    assert "was cancelled while it ran" in told[0].message
    assert "attempt 1 has no say any more" in told[1].message


async def test_the_idempotency_key_is_the_same_in_every_attempt(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    seen: list[str] = []

    @task("pays", backoff=AT_ONCE, registry=registry)
    async def pays(ctx: TaskContext) -> None:
        seen.append(ctx["task"].idempotency_key)
        if len(seen) < 3:
            raise ValueError

    handle = await client.enqueue(pays)
    await drain_until_settled(client, handle, drain)
    assert seen == [str(handle.id)] * 3


async def test_arqs_number_of_the_try_is_that_of_the_attempt(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    seen: list[int] = []

    @task("counts", backoff=AT_ONCE, registry=registry)
    async def counts(ctx: TaskContext) -> None:
        seen.append(ctx["job_try"])
        if ctx["job_try"] < 3:
            raise ValueError

    await drain_until_settled(client, await client.enqueue(counts), drain)
    assert seen == [1, 2, 3]


async def test_progress_is_visible_while_the_task_runs(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    seen: list[Any] = []

    @task("reports", registry=registry)
    async def reports(ctx: TaskContext) -> None:
        await ctx["task"].report(done=1, of=2)
        seen.append((await view_of(client, handle)).progress)

    handle = await client.enqueue(reports)
    await drain()
    assert seen == [{"done": 1, "of": 2}]


async def test_no_connection_stays_checked_out_of_the_workers_pool(
    client: TaskClient, registry: Registry, drain: Drain, processes: list[Process]
) -> None:
    pools: list[Any] = []

    @task("mixed", max_tries=1, registry=registry)
    async def mixed(ctx: TaskContext, n: int) -> None:
        db = processes[-1].runtime.db
        assert isinstance(db, Database)
        pools.append(db.engine.pool)
        async with ctx["db"].get_session() as session:
            await session.execute(text("SELECT 1/:n"), {"n": n})

    await client.enqueue_many(mixed, [{"n": 1}, {"n": 0}, {"n": 2}])
    await drain()
    assert {pool.checkedout() for pool in pools} == {0}
