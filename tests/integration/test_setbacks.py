"""The same failing server again and again, met by one task alone: at last it is the task's own."""

import asyncio
import os
import signal
from typing import NoReturn
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.conftest import SEARCH_PATH, Drain
from tests.integration.test_attempts import AT_ONCE, drain_until_settled, view_of
from tests.statements import clause
from uow import (
    Backoff,
    Database,
    Retry,
    Snooze,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskState,
    task,
)
from uow.broker.redis import RedisClient
from uow.db import migrations
from uow.db.server import been_up
from uow.embedded import EmbeddedPostgres
from uow.errors import AttemptSuperseded
from uow.tasks import retry
from uow.tasks.registry import Registry
from uow.tasks.retry import MOST_SETBACKS

PUT = text(
    "INSERT INTO task (id, name, state, attempt, run_at, started_at, setback, setbacks) VALUES "
    "(:id, 'x', 'running', 3, now(), now() - make_interval(secs => :ago), :setback, :setbacks)"
)
COUNT = text("SELECT setback, setbacks FROM task WHERE id = :id")
RAISE = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{}'; END $$"


@pytest.fixture(autouse=True)
def _handed_back_for_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "HAND_BACK_SECONDS", (0.0, 0.0))


async def put(
    db: Database, *, ago: float = 0.0, setback: str | None = "40P01", setbacks: int = 3
) -> UUID:
    """A task whose third attempt began `ago` seconds ago."""
    values = {"id": uuid4(), "ago": ago, "setback": setback, "setbacks": setbacks}
    await db.execute_once(PUT, values)
    return UUID(str(values["id"]))


async def counted(db: Database, id_: UUID) -> tuple[str | None, int]:
    return tuple((await db.execute_once(COUNT, {"id": id_})).one())


async def hand_back(db: Database, id_: UUID, setback: str | None, state: str = "queued") -> int:
    parameters = {
        "id": id_,
        "attempt": 3,
        "state": state,
        "delay": 0.0,
        "setback": setback,
        "is_stray": False,
    }
    found = await db.execute_once(clause(db, "hand_back"), parameters)
    return int(found.scalar_one())


async def raise_state(ctx: TaskContext, state: str) -> NoReturn:
    async with ctx["db"].get_session() as session:
        await session.execute(text(RAISE.format(state)))
    raise AssertionError("Postgres has not raised it")


class TestTheCount:
    async def test_the_same_cause_is_counted(self, db: Database) -> None:
        id_ = await put(db)
        assert await hand_back(db, id_, "40P01") == 4
        assert await counted(db, id_) == ("40P01", 4)

    async def test_another_cause_is_counted_too_and_gives_its_name(self, db: Database) -> None:
        id_ = await put(db, setback="40001")
        assert await hand_back(db, id_, "40P01") == 4
        assert await counted(db, id_) == ("40P01", 4)

    async def test_the_first_counts_as_one(self, db: Database) -> None:
        id_ = await put(db, setback=None, setbacks=0)
        assert await hand_back(db, id_, "40P01") == 1

    async def test_a_hand_back_that_says_nothing_of_the_task_leaves_it(self, db: Database) -> None:
        """A shutdown; an outage that hits everybody."""
        id_ = await put(db)
        assert await hand_back(db, id_, None) == 3
        assert await counted(db, id_) == ("40P01", 3)

    async def test_a_snooze_ends_it(self, db: Database) -> None:
        id_ = await put(db)
        assert await hand_back(db, id_, None, "scheduled") == 0
        assert await counted(db, id_) == (None, 0)

    @pytest.mark.parametrize("statement", ["retry", "fail"])
    async def test_a_failure_ends_it(self, statement: str, db: Database) -> None:
        id_ = await put(db)
        error = {"error_type": "E", "message": "", "traceback": ""}
        more = {"state": "failed", "counted": 1, "retention": 60.0} if statement == "fail" else {}
        if statement == "retry":
            more = {"delay": 0.0}
        await db.execute_once(clause(db, statement), {"id": id_, "attempt": 3, **error, **more})
        assert await counted(db, id_) == (None, 0)

    async def test_whoever_asks_for_a_task_again_begins_anew(
        self, db: Database, client: TaskClient
    ) -> None:
        id_ = await put(db)
        assert await client.cancel(id_)
        assert await client.retry(id_)
        assert await counted(db, id_) == (None, 0)

    async def test_what_ran_while_the_server_was_started_anew_is_not_counted(
        self, db: Database
    ) -> None:
        id_ = await put(db, ago=86_400.0)
        assert await hand_back(db, id_, "ConnectionDoesNotExistError") == 3
        assert await counted(db, id_) == ("40P01", 3)

    async def test_what_ran_while_the_server_crashed_is_not_counted(self) -> None:
        """After a crash the server goes on in the process that it was started in."""
        server = EmbeddedPostgres(settings=SEARCH_PATH)
        async with server as postgres, Database(postgres.url, pool_size=2) as db:
            await migrations.upgrade(db)
            before, victim = await put(db), text("SELECT pg_backend_pid()")
            os.kill((await db.execute_once(victim, {})).scalar_one(), signal.SIGKILL)
            async with asyncio.timeout(20):
                while not await _answers(db):
                    await asyncio.sleep(0.05)
            assert await hand_back(db, before, "ConnectionDoesNotExistError") == 3
            after = await put(db)
            assert await hand_back(db, after, "40P01") == 4


async def _answers(db: Database) -> bool:
    try:
        await db.ping()
    except Exception:
        return False
    return True


class TestTheRule:
    async def test_five_in_a_row_count_as_one_try_and_the_count_begins_anew(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("deadlocks", max_tries=2, backoff=AT_ONCE, registry=registry)
        async def deadlocks(ctx: TaskContext) -> None:
            await raise_state(ctx, "40P01")

        handle = await client.enqueue(deadlocks)
        view = await drain_until_settled(client, handle, drain)
        assert (view.state, view.attempt) == (TaskState.FAILED, 2 * MOST_SETBACKS)
        assert view.tries == 2
        assert [error.attempt for error in view.errors] == [MOST_SETBACKS, 2 * MOST_SETBACKS]
        for error in view.errors:
            assert error.error_type == "RepeatedSetback"
            assert error.message.startswith("5 attempts in a row were cut short while Postgres")
            assert "the last by 40P01" in error.message
            assert "DeadlockDetectedError" in error.traceback
        assert await counted(db, handle.id) == (None, 0)

    async def test_causes_that_take_turns_are_counted_together(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("alternates", max_tries=1, registry=registry)
        async def alternates(ctx: TaskContext) -> str:
            if ctx["task"].attempt > 2 * MOST_SETBACKS:
                return "for ever"
            return await raise_state(ctx, ("40P01", "57P01")[ctx["task"].attempt % 2])

        handle = await client.enqueue(alternates)
        view = await drain_until_settled(client, handle, drain)
        assert (view.state, view.attempt, view.tries) == (TaskState.FAILED, MOST_SETBACKS, 1)
        assert "the last by 57P01" in view.errors[0].message

    async def test_a_task_that_cuts_its_own_connection_each_time_fails_at_last(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("cuts", max_tries=1, registry=registry)
        async def cuts(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        handle = await client.enqueue(cuts)
        view = await drain_until_settled(client, handle, drain)
        assert (view.state, view.attempt, view.tries) == (TaskState.FAILED, MOST_SETBACKS, 1)

    async def test_who_says_that_others_have_its_task_is_not_believed_for_ever(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("lies", max_tries=1, registry=registry)
        async def lies(ctx: TaskContext) -> None:
            raise AttemptSuperseded("by nobody")

        view = await drain_until_settled(client, await client.enqueue(lies), drain)
        assert (view.state, view.attempt, view.tries) == (TaskState.FAILED, MOST_SETBACKS, 1)

    @pytest.mark.parametrize("state", ["53100", "53300", "57P02", "57P03", "58030", "28P01"])
    async def test_what_hits_everybody_never_counts(
        self, state: str, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("unlucky", max_tries=1, registry=registry)
        async def unlucky(ctx: TaskContext) -> str:
            if ctx["task"].attempt <= 2 * MOST_SETBACKS:
                await raise_state(ctx, state)
            return "well"

        handle = await client.enqueue(unlucky)
        view = await drain_until_settled(client, handle, drain)
        assert (view.state, view.tries, view.errors) == (TaskState.SUCCEEDED, 0, ())

    async def test_four_in_a_row_cost_nothing(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("unlucky", max_tries=1, registry=registry)
        async def unlucky(ctx: TaskContext) -> str:
            if ctx["task"].attempt % MOST_SETBACKS:
                await raise_state(ctx, "40001")
            if ctx["task"].attempt < 3 * MOST_SETBACKS:
                raise Snooze(0)
            return "well"

        handle = await client.enqueue(unlucky)
        view = await drain_until_settled(client, handle, drain)
        assert (view.state, view.tries, view.errors) == (TaskState.SUCCEEDED, 0, ())

    async def test_the_backoff_of_the_task_holds_for_the_try_that_it_costs(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("unlucky", backoff=Backoff(base=30), registry=registry)
        async def unlucky(ctx: TaskContext) -> None:
            await raise_state(ctx, "40P01")

        handle = await client.enqueue(unlucky)
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.attempt, view.tries) == (TaskState.RETRYING, MOST_SETBACKS, 1)

    async def test_a_try_between_them_begins_the_count_anew(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("mixed", max_tries=9, registry=registry)
        async def mixed(ctx: TaskContext) -> str:
            match ctx["task"].attempt:
                case 4:
                    raise Retry(0)
                case 9:
                    return "well"
                case _:
                    return await raise_state(ctx, "40P01")

        handle = await client.enqueue(mixed)
        view = await drain_until_settled(client, handle, drain)
        assert (view.state, view.tries, len(view.errors)) == (TaskState.SUCCEEDED, 1, 1)


class TestWithoutARow:
    async def test_five_in_a_row_fail_it_at_its_last_try(
        self, client: TaskClient, registry: Registry, drain: Drain, redis: RedisClient
    ) -> None:
        runs: list[int] = []

        @task("plain", durable=False, max_tries=1, registry=registry)
        async def plain(ctx: TaskContext) -> None:
            runs.append(1)
            await raise_state(ctx, "40P01")

        handle = await client.enqueue(plain)
        while not (await handle.status()).settled:
            await drain()
        with pytest.raises(TaskFailed, match="RepeatedSetback: 5 attempts in a row were cut short"):
            await handle.result(10)
        assert len(runs) == MOST_SETBACKS
        assert await redis.keys("worker:setbacks:*") == []

    async def test_causes_that_take_turns_are_counted_together(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        runs: list[int] = []

        @task("plain", durable=False, max_tries=1, registry=registry)
        async def plain(ctx: TaskContext) -> None:
            runs.append(1)
            if len(runs) <= 2 * MOST_SETBACKS:
                await raise_state(ctx, ("40P01", "40001")[len(runs) % 2])

        handle = await client.enqueue(plain)
        while not (await handle.status()).settled:
            await drain()
        with pytest.raises(TaskFailed, match="the last by 40001"):
            await handle.result(10)
        assert len(runs) == MOST_SETBACKS

    async def test_a_snooze_between_them_begins_the_count_anew(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        runs: list[int] = []

        @task("plain", durable=False, max_tries=1, registry=registry)
        async def plain(ctx: TaskContext) -> str:
            runs.append(1)
            if len(runs) == MOST_SETBACKS - 1:
                raise Snooze(0)
            if len(runs) < 2 * MOST_SETBACKS - 2:
                await raise_state(ctx, "40P01")
            return "well"

        handle = await client.enqueue(plain)
        while not (await handle.status()).settled:
            await drain()
        assert await handle.result(10) == "well"

    async def test_what_hits_everybody_never_counts(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        runs: list[int] = []

        @task("plain", durable=False, max_tries=1, registry=registry)
        async def plain(ctx: TaskContext) -> str:
            runs.append(1)
            if len(runs) <= MOST_SETBACKS + 1:
                await raise_state(ctx, "53300")
            return "well"

        handle = await client.enqueue(plain)
        while not (await handle.status()).settled:
            await drain()
        assert await handle.result(10) == "well"

    async def test_a_server_that_was_started_since_does_not_count(self, db: Database) -> None:
        for seconds, up in ((0.0, True), (86_400.0, False)):
            assert await been_up(db, seconds) is up
