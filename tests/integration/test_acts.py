"""Acts on one task: guarded, with an audit row in their own transaction, and Redis told after."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.conftest import Drain
from tests.integration.test_interventions import put, view_of
from uow import Database, Settings, TaskClient, TaskContext, TaskState, task
from uow.acts.actor import Actor
from uow.acts.left import LeftAlone, Why
from uow.acts.single import Acts
from uow.broker import keys, scripts
from uow.broker.redis import RedisClient
from uow.db import audit
from uow.db.audit import LATEST, AuditRow
from uow.errors import InvalidArguments, PayloadTooLarge, UnknownTask
from uow.questions.redaction import Redaction
from uow.tasks.registry import Registry

ANN = Actor("ann", "api", "10.0.0.7")


@pytest.fixture
def acts(client: TaskClient, settings: Settings, registry: Registry) -> Acts:
    return Acts(client, registry, Redaction(["*token*"], registry))


async def written(db: Database) -> list[AuditRow]:
    """The audit, newest first."""
    return [*await audit.read(db, before=LATEST, limit=100)]


async def later(db: Database, seconds: float, /, **columns: Any) -> UUID:
    """A task that waits for a time, and is in Postgres alone."""
    task_id = await put(db, columns.pop("state", TaskState.SCHEDULED), **columns)
    due = "now() + make_interval(secs => :s)"
    set_due = (
        f"UPDATE task SET run_at = {due}, dispatch_at = {due}, started_at = NULL WHERE id = :id"
    )
    await db.execute_once(text(set_due), {"s": seconds, "id": task_id})
    return task_id


def why(left: LeftAlone | None) -> Why | None:
    return None if left is None else left.why


class TestTheAudit:
    async def test_an_act_is_written_down_with_who_where_what_and_why(
        self, db: Database, acts: Acts
    ) -> None:
        task_id = await put(db, TaskState.QUEUED)
        assert await acts.cancel(task_id, ANN, "asked by the customer") is None
        (one,) = await written(db)
        assert (one.who, one.face, one.address) == ("ann", "api", "10.0.0.7")
        assert (one.what, one.task_id, one.reason) == ("cancel", task_id, "asked by the customer")
        assert await audit.read_of_task(db, task_id, before=LATEST, limit=10) == [one]

    async def test_what_was_not_done_is_not_written_down(self, db: Database, acts: Acts) -> None:
        assert why(await acts.cancel(await put(db), ANN)) is Why.SETTLED
        assert why(await acts.cancel(uuid4(), ANN)) is Why.NOT_THERE
        assert await written(db) == []

    async def test_an_act_whose_audit_row_cannot_be_written_is_not_done(
        self, db: Database, acts: Acts, client: TaskClient
    ) -> None:
        task_id = await put(db, TaskState.QUEUED)
        await db.execute_once(text("ALTER TABLE audit ADD CHECK (who <> 'ann')"), {})
        with pytest.raises(asyncpg.CheckViolationError):
            await acts.cancel(task_id, ANN)
        assert (await view_of(client, task_id)).state is TaskState.QUEUED

    async def test_of_a_hundred_at_once_one_is_done_and_written_down(
        self, db: Database, acts: Acts
    ) -> None:
        task_id = await put(db)
        answers = await asyncio.gather(*(acts.retry(task_id, ANN) for _ in range(100)))
        assert answers.count(None) == len(await written(db)) == 1

    async def test_it_is_kept_for_its_time(self, db: Database, acts: Acts) -> None:
        for _ in range(3):
            await acts.cancel(await put(db, TaskState.QUEUED), ANN)
        old = "UPDATE audit SET at = now() - interval '2 days' WHERE id <= 2"
        await db.execute_once(text(old), {})
        assert await audit.prune(db, 86_400, 1) == 1
        assert await audit.prune(db, 86_400, 10) == 1
        assert [one.id for one in await written(db)] == [3]


class TestRetry:
    async def test_what_cannot_run_again_says_why(self, db: Database, acts: Acts) -> None:
        for state, reason in (
            (TaskState.SUCCEEDED, Why.SUCCEEDED),
            (TaskState.QUEUED, Why.UNSETTLED),
            (TaskState.RUNNING, Why.RUNNING),
        ):
            assert why(await acts.retry(await put(db, state), ANN)) is reason

    @pytest.mark.parametrize("kind", ["unique_key", "waiting_key"])
    async def test_whose_key_is_taken_says_by_whom(
        self, db: Database, acts: Acts, kind: str
    ) -> None:
        task_id = await put(db, **{kind: "k"})
        holder = await put(db, TaskState.QUEUED, **{kind: "k"})
        left = await acts.retry(task_id, ANN)
        assert left == LeftAlone(task_id, Why.KEY_TAKEN, f"task {holder} has its unique key 'k'")

    async def test_it_is_pushed_at_once(
        self, db: Database, acts: Acts, client: TaskClient, redis: RedisClient
    ) -> None:
        task_id = await put(db)
        await acts.retry(task_id, ANN)
        await client.flush()
        assert await redis.zrange("arq:queue", 0, -1) == [str(task_id).encode()]


class TestEditedArguments:
    @pytest.fixture
    def registry(self, registry: Registry) -> Registry:
        @task("double", max_tries=1, registry=registry)
        async def double(ctx: TaskContext, n: int, token: str = "") -> int:
            if n < 0:
                raise ValueError("below 0")
            return 2 * n

        return registry

    async def test_it_runs_with_them_and_the_audit_keeps_the_old_ones_redacted(
        self, db: Database, acts: Acts, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        handle = await client.enqueue(registry["double"], n=-1, token="hunter2")
        await drain()
        assert await acts.retry(handle.id, ANN, args={"n": 4}) is None
        await drain()
        assert await handle.result(10) == 8
        (one,) = await written(db)
        assert one.args is not None
        assert json.loads(one.args) == {"n": -1, "token": "[redacted]"}

    async def test_the_old_ones_go_with_the_task_and_the_entry_stays(
        self, db: Database, acts: Acts
    ) -> None:
        task_id = await put(db, name="double")
        await acts.retry(task_id, ANN, args={"n": 1})
        await db.execute_once(text("DELETE FROM task"), {})
        (one,) = await written(db)
        assert (one.task_id, one.args) == (task_id, None)

    async def test_what_does_not_fit_or_cannot_be_checked_changes_nothing(
        self, db: Database, acts: Acts, client: TaskClient
    ) -> None:
        task_id, strange = await put(db, name="double"), await put(db, name="strange")
        with pytest.raises(InvalidArguments, match="double: n: "):
            await acts.retry(task_id, ANN, args={"n": "many"})
        with pytest.raises(PayloadTooLarge):
            await acts.retry(task_id, ANN, args={"n": 1, "token": "x" * 2_000_000})
        with pytest.raises(UnknownTask, match="cannot be checked: no task function is called str"):
            await acts.retry(strange, ANN, args={"n": 1})
        for id_ in (task_id, strange):
            assert (await view_of(client, id_)).state is TaskState.FAILED
        assert await written(db) == []

    async def test_what_is_not_settled_keeps_its_arguments(
        self, db: Database, acts: Acts, client: TaskClient
    ) -> None:
        task_id = await put(db, TaskState.QUEUED, name="double")
        assert why(await acts.retry(task_id, ANN, args={"n": 1})) is Why.UNSETTLED
        assert (await view_of(client, task_id)).args == {}


class TestRunNow:
    async def test_a_task_of_tomorrow_runs_now(
        self, db: Database, acts: Acts, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("noop", registry=registry)
        async def noop(ctx: TaskContext) -> None: ...

        handle = await client.enqueue(noop.options(delay=86_400))
        await acts.run_now(handle.id, ANN)
        await drain()
        assert await handle.status() is TaskState.SUCCEEDED

    async def test_a_job_that_waits_in_redis_is_due(
        self, db: Database, acts: Acts, redis: RedisClient
    ) -> None:
        task_id = await later(db, 30, state=TaskState.RETRYING)
        now = int((await redis.time())[0]) * 1000
        await redis.zadd("arq:queue", {str(task_id): now + 30_000})
        assert await acts.run_now(task_id, ANN) is None
        score = await redis.zscore("arq:queue", str(task_id))
        assert score is not None
        assert score <= now + 2_000
        assert await redis.exists(keys.job(str(task_id)))

    async def test_a_job_whose_attempt_is_just_ending_is_moved_when_it_is_let_go(
        self, db: Database, acts: Acts, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its worker puts it back to where the retry was to be, and would have the last word."""
        task_id = await later(db, 30, state=TaskState.RETRYING)
        lease, far = keys.in_progress(str(task_id)), 10**15
        await redis.set(lease, "x")
        move = scripts.move

        async def finish_after_the_first_look(
            call: scripts.Call, queue: str, jobs: Sequence[scripts.Job], *, leave: bool = False
        ) -> tuple[set[str], dict[str, str]]:
            moved = await move(call, queue, jobs, leave=leave)
            if await redis.delete(lease):
                await redis.zadd(queue, {str(task_id): far})
            return moved

        monkeypatch.setattr(scripts, "move", finish_after_the_first_look)
        assert await acts.run_now(task_id, ANN) is None
        assert await redis.zscore("arq:queue", str(task_id)) != far

    async def test_what_does_not_wait_for_a_time_says_why(self, db: Database, acts: Acts) -> None:
        for state, reason in (
            (TaskState.QUEUED, Why.DUE),
            (TaskState.RUNNING, Why.RUNNING),
            (TaskState.FAILED, Why.SETTLED),
        ):
            assert why(await acts.run_now(await put(db, state), ANN)) is reason

    async def test_without_redis_it_is_done_and_the_relay_looks_at_once(
        self, db: Database, settings: Settings, registry: Registry
    ) -> None:
        away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
        task_id = await later(db, 3600)
        async with TaskClient.from_settings(away, db=db) as client:
            assert (
                await Acts(client, registry, Redaction([], registry)).run_now(task_id, ANN) is None
            )
        soon = "SELECT dispatch_at < now() + interval '2 seconds' FROM task"
        assert (await db.execute_once(text(soon), {})).scalar_one()


class TestPriority:
    async def test_a_waiting_job_overtakes(
        self, db: Database, acts: Acts, client: TaskClient, redis: RedisClient
    ) -> None:
        first, second = await put(db), await put(db)
        for one in (first, second):
            await acts.retry(one, ANN)
            await client.flush()
        assert await acts.set_priority(second, 5, ANN) is None
        order = await redis.zrange("arq:queue", 0, -1)
        assert order == [str(second).encode(), str(first).encode()]
        entry = (await written(db))[0]
        assert (entry.what, json.loads(entry.options or "")) == ("priority", {"priority": 5})

    async def test_a_priority_that_is_not_due_waits_in_postgres(
        self, db: Database, acts: Acts, redis: RedisClient
    ) -> None:
        """In Redis it would be run at once."""
        task_id = await later(db, 30)
        await redis.zadd("arq:queue", {str(task_id): 10**13})
        await acts.set_priority(task_id, 1, ANN)
        assert await redis.zscore("arq:queue", str(task_id)) is None
        held = "SELECT dispatch_at = run_at FROM task"
        assert (await db.execute_once(text(held), {})).scalar_one()

    async def test_what_is_settled_or_has_it_says_so(self, db: Database, acts: Acts) -> None:
        assert why(await acts.set_priority(await put(db), 1, ANN)) is Why.SETTLED
        waiting = await put(db, TaskState.QUEUED)
        assert why(await acts.set_priority(waiting, 0, ANN)) is Why.SAME


class TestDelete:
    async def test_a_settled_task_is_gone_with_its_errors(self, db: Database, acts: Acts) -> None:
        task_id = await put(db)
        columns, values = "task_id, attempt, error_type, message", ":id, 1, 'E', ''"
        note = text(f"INSERT INTO task_error ({columns}) VALUES ({values})")
        await db.execute_once(note, {"id": task_id})
        assert await acts.delete(task_id, ANN) is None
        left = "SELECT (SELECT count(*) FROM task) + (SELECT count(*) FROM task_error)"
        assert (await db.execute_once(text(left), {})).scalar_one() == 0
        assert [(one.what, one.task_id) for one in await written(db)] == [("delete", task_id)]

    async def test_what_is_not_settled_stays(self, db: Database, acts: Acts) -> None:
        for state, reason in (
            (TaskState.QUEUED, Why.UNSETTLED),
            (TaskState.RUNNING, Why.RUNNING),
        ):
            assert why(await acts.delete(await put(db, state), ANN)) is reason

    async def test_a_task_whose_job_is_still_in_redis_stays(
        self, db: Database, acts: Acts, redis: RedisClient
    ) -> None:
        """A stock client's job would run as a new one."""
        task_id = await put(db)
        await redis.set(keys.job(str(task_id)), "x")
        assert why(await acts.delete(task_id, ANN)) is Why.IN_REDIS
        await redis.delete(keys.job(str(task_id)))
        assert await acts.delete(task_id, ANN) is None

    async def test_the_last_task_of_a_schedule_stays(self, db: Database, acts: Acts) -> None:
        task_id = await put(db)
        known = text(
            "INSERT INTO schedule (app, name, version, definition, last_task_id) "
            "VALUES ('worker', 's', '1', '{}', :id)"
        )
        await db.execute_once(known, {"id": task_id})
        assert why(await acts.delete(task_id, ANN)) is Why.LAST_OF_SCHEDULE
