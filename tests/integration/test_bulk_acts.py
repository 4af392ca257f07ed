"""Acts on all tasks that a filter means: previewed, confirmed, run by the leader in batches."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text

from tests.integration.arq.conftest import until
from tests.integration.test_interventions import put, queued
from uow import Database, Settings, TaskClient, TaskContext, TaskState, running, task
from uow.acts import batches
from uow.acts import bulk as bulk_acts
from uow.acts.actor import Actor
from uow.acts.batches import BulkBatches
from uow.acts.bulk import BulkActs, BulkView
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.db import audit, bulk, walk
from uow.db.audit import LATEST
from uow.db.statement import Statements
from uow.db.walk import Leg, Meant
from uow.errors import ActRefused, BulkActNotFound, InvalidFilter, InvalidOptions
from uow.questions.filters import TaskFilter
from uow.services.bulk_runner import AuditPruner, BulkRunner
from uow.tasks.registry import Registry

ANN = Actor("ann", "api", "10.0.0.7")
BOB = Actor("bob", "shell")


@pytest.fixture(autouse=True)
def _a_slow_machine_counts_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_acts, "COUNTING_SECONDS", 60.0)


@pytest.fixture
def acts(client: TaskClient, settings: Settings) -> BulkActs:
    return BulkActs(client)


@pytest.fixture
def runner(client: TaskClient, settings: Settings) -> BulkRunner:
    return BulkRunner(client)


def which(**words: str) -> TaskFilter:
    return TaskFilter.read(words.items())


async def put_many(db: Database, count: int, **columns: Any) -> list[UUID]:
    """Failed tasks with these values, the highest id first."""
    return sorted([await put(db, **columns) for _ in range(count)], reverse=True)


async def started(acts: BulkActs, name: str, filter_: TaskFilter, **options: Any) -> UUID:
    """A bulk act that was confirmed."""
    view = await acts.preview(name, filter_, ANN, **options)
    return (await acts.confirm(view.row.id, ANN)).row.id


def left(view: BulkView) -> dict[str, int]:
    return {why: said["count"] for why, said in view.row.left_alone.items()}


async def states(db: Database) -> dict[str, int]:
    found = await db.execute_once(text("SELECT state, count(*) FROM task GROUP BY state"), {})
    return dict(map(tuple, found))


class TestThePreview:
    async def test_it_counts_shows_five_and_changes_nothing(
        self, db: Database, acts: BulkActs, runner: BulkRunner
    ) -> None:
        meant = await put_many(db, 7, name="billing.charge")
        await put_many(db, 2, name="other")
        view = await acts.preview("retry", which(name="billing.*"), ANN, reason="they are back")
        assert (view.state, view.row.count, view.row.is_exact) == ("previewed", 7, True)
        assert [one.id for one in view.samples] == meant[:5]
        assert view.row.upper_id == max(await ids(db))
        assert await runner.run_once() == 0
        assert await states(db) == {"failed": 9}
        assert await audit.read(db, before=LATEST, limit=1) == []

    @pytest.mark.parametrize(
        "words",
        [
            {"name": "a"}, {"name": "b.*"}, {"queue": "q"}, {"user": "u"}, {"state": "failed"},
            {"state": "failed,cancelled"}, {"state": "succeeded"}, {"worker": "w"},
            {"since": "1h"}, {"until": "2000-01-01T00:00Z"}, {"settled-since": "90s"},
            {"settled-until": "90s"}, {"error": "Boom"}, {"schedule": "s"},
            {"user": "u", "name": "a", "state": "cancelled"},
        ],
        ids=str,
    )  # fmt: skip
    async def test_each_word_means_what_it_says(
        self, db: Database, acts: BulkActs, words: dict[str, str]
    ) -> None:
        rows = await variety(db)
        view = await acts.preview("delete", which(**words), ANN)
        wanted = {id_ for id_, row in rows.items() if fits(row, words)}
        assert view.row.count == len(wanted)
        assert {one.id for one in view.samples} <= wanted

    async def test_a_filter_without_a_state_means_those_that_the_act_is_for(
        self, db: Database, acts: BulkActs
    ) -> None:
        for state in TaskState:
            await put(db, state, user_id="u")
        for name, count in (("cancel", 4), ("retry", 1), ("run-now", 2), ("delete", 3)):
            assert (await acts.preview(name, which(user="u"), ANN)).row.count == count

    async def test_the_count_ends_and_says_so(
        self, db: Database, acts: BulkActs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk_acts, "COUNTED", 3)
        await put_many(db, 4)
        view = await acts.preview("retry", which(state="failed"), ANN)
        assert (view.row.count, view.row.is_exact) == (3, False)

    async def test_what_cannot_be_asked_for_is_refused(self, acts: BulkActs) -> None:
        with pytest.raises(ActRefused, match="needs a filter"):
            await acts.preview("retry", which(), ANN)
        with pytest.raises(InvalidOptions, match="no act 'explode'; there are cancel, "):
            await acts.preview("explode", which(user="u"), ANN)
        with pytest.raises(InvalidOptions, match="not between 0 and 9"):
            await acts.preview("priority", which(user="u"), ANN, options={"priority": 10})
        with pytest.raises(InvalidFilter, match="does not look into arguments"):
            await acts.preview("retry", which(arg="a=1"), ANN)


class TestTheConfirmation:
    async def test_with_its_key_it_can_be_asked_for_again(
        self, db: Database, acts: BulkActs, runner: BulkRunner
    ) -> None:
        await put_many(db, 3)
        view = await acts.preview("retry", which(state="failed"), ANN)
        answers = await asyncio.gather(*(acts.confirm(view.row.id, ANN, "once") for _ in range(10)))
        assert {one.row.id for one in answers} == {view.row.id}
        await runner.run_once()
        assert (await acts.confirm(view.row.id, ANN, "once")).state == "done"
        assert len(await audit.read(db, before=LATEST, limit=10)) == 1

    async def test_a_key_is_for_one_act_and_an_act_is_confirmed_once(
        self, db: Database, acts: BulkActs
    ) -> None:
        await put(db)
        first, second = [
            (await acts.preview("retry", which(state="failed"), ANN)).row.id for _ in range(2)
        ]
        await acts.confirm(first, ANN, "key")
        with pytest.raises(ActRefused, match=f"with this idempotency key bulk act {first}"):
            await acts.confirm(second, ANN, "key")
        with pytest.raises(ActRefused, match="was confirmed already: it is running"):
            await acts.confirm(first, ANN)
        with pytest.raises(BulkActNotFound):
            await acts.confirm(uuid4(), ANN)

    async def test_two_callers_may_have_the_same_key(self, db: Database, acts: BulkActs) -> None:
        await put(db)
        for by in (ANN, BOB):
            bulk_id = (await acts.preview("retry", which(state="failed"), by)).row.id
            await acts.confirm(bulk_id, by, "1")
            with pytest.raises(ActRefused, match="was confirmed already"):
                await acts.confirm(bulk_id, ANN if by is BOB else BOB, "1")

    async def test_of_several_acts_at_once_with_one_key_one_is_confirmed(
        self, db: Database, acts: BulkActs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def none_yet(db: Statements, key: str) -> None: ...

        monkeypatch.setattr(bulk, "find_key", none_yet)
        await put(db)
        ids = [(await acts.preview("retry", which(state="failed"), ANN)).row.id for _ in range(8)]
        said = await asyncio.gather(
            *(acts.confirm(id_, ANN, "key") for id_ in ids), return_exceptions=True
        )
        refused = [one for one in said if isinstance(one, ActRefused)]
        assert (len(said), len(refused)) == (8, 7), said
        assert len(await audit.read(db, before=LATEST, limit=10)) == 1

    async def test_an_old_preview_is_looked_at_again(self, db: Database, acts: BulkActs) -> None:
        view = await acts.preview("retry", which(state="failed"), ANN)
        old = "UPDATE bulk_act SET previewed_at = now() - interval '16 minutes'"
        await db.execute_once(text(old), {})
        with pytest.raises(ActRefused, match="older than 15 minutes: look again"):
            await acts.confirm(view.row.id, ANN)
        assert await audit.read(db, before=LATEST, limit=10) == []


class TestTheRun:
    async def test_a_retry_runs_all_that_are_meant_and_no_other_again(
        self, db: Database, acts: BulkActs, runner: BulkRunner, client: TaskClient,
        redis: RedisClient,
    ) -> None:  # fmt: skip
        meant = await put_many(db, 30, queue="arq:queue", user_id="u")
        await put_many(db, 5)
        bulk_id = await started(acts, "retry", which(user="u"))
        await runner.run_once()
        view = await acts.get(bulk_id)
        assert (view.state, view.row.done, left(view)) == ("done", 30, {})
        assert await queued(db) == {*meant}
        await client.flush()
        assert await redis.zcard("arq:queue") == 30

    async def test_what_fails_or_is_asked_for_after_the_preview_is_not_meant(
        self, db: Database, acts: BulkActs, runner: BulkRunner
    ) -> None:
        first = await put(db)
        waiting = await put(db, TaskState.QUEUED)
        view = await acts.preview("retry", which(state="failed"), ANN)
        await put(db)
        await put(db, ago=-1.0)
        fail = (
            "UPDATE task SET state = 'failed', ended = 'failed', settled_at = now() WHERE id = :id"
        )
        await db.execute_once(text(fail), {"id": waiting})
        await acts.confirm(view.row.id, ANN)
        await runner.run_once()
        assert await queued(db) == {first}

    @pytest.mark.parametrize(
        ("name", "options", "before", "after"),
        [
            ("cancel", {}, TaskState.QUEUED, {"cancelled": 3}),
            ("delete", {}, TaskState.SUCCEEDED, {}),
            ("priority", {"priority": 4}, TaskState.QUEUED, {"queued": 3}),
        ],
    )
    async def test_each_act_can_be_done_to_many(
        self, db: Database, acts: BulkActs, runner: BulkRunner, name: str,
        options: dict[str, int], before: TaskState, after: dict[str, int],
    ) -> None:  # fmt: skip
        for _ in range(3):
            await put(db, before, user_id="u")
        bulk_id = await started(acts, name, which(user="u"), options=options)
        await runner.run_once()
        assert (await acts.get(bulk_id)).row.done == 3
        assert await states(db) == after
        priorities = await db.execute_once(text("SELECT DISTINCT priority FROM task"), {})
        assert {*priorities.scalars()} <= {options.get("priority", 0)}

    async def test_what_waits_for_tomorrow_runs_now(
        self, db: Database, acts: BulkActs, runner: BulkRunner
    ) -> None:
        for state in (TaskState.SCHEDULED, TaskState.RETRYING):
            await put(db, state, user_id="u")
        tomorrow = "UPDATE task SET run_at = now() + interval '1 day'"
        await db.execute_once(text(tomorrow), {})
        bulk_id = await started(acts, "run-now", which(user="u"))
        await runner.run_once()
        assert (await acts.get(bulk_id)).row.done == len(await queued(db)) == 2

    async def test_it_says_what_it_left_alone_and_why(
        self, db: Database, acts: BulkActs, runner: BulkRunner, redis: RedisClient
    ) -> None:
        holder = await put(db, TaskState.QUEUED, unique_key="k")
        taken = await put(db, unique_key="k", user_id="u")
        succeeded = await put(db, TaskState.SUCCEEDED, user_id="u")
        await put(db, user_id="u")
        every = which(user="u", state=",".join(TaskState))
        bulk_id = await started(acts, "retry", every)
        await runner.run_once()
        view = await acts.get(bulk_id)
        assert (view.row.done, left(view)) == (1, {"key_taken": 1, "succeeded": 1})
        assert view.row.left_alone["key_taken"]["ids"] == [str(taken)]
        assert view.row.left_alone["succeeded"]["ids"] == [str(succeeded)]
        assert holder in await queued(db)
        await redis.set(keys.job(str(taken)), "x")
        bulk_id = await started(acts, "delete", every)
        await runner.run_once()
        assert left(await acts.get(bulk_id)) == {"in_redis": 1, "unsettled": 1}

    async def test_of_several_with_one_key_the_youngest_runs_again(
        self, db: Database, acts: BulkActs, runner: BulkRunner
    ) -> None:
        made = await put_many(db, 5, unique_key="k")
        bulk_id = await started(acts, "retry", which(state="failed"))
        await runner.run_once()
        view = await acts.get(bulk_id)
        assert (view.row.done, left(view)) == (1, {"key_taken": 4})
        assert await queued(db) == {made[0]}

    async def test_the_audit_says_who_has_confirmed_it_and_how_far_it_is(
        self, db: Database, acts: BulkActs, runner: BulkRunner
    ) -> None:
        await put_many(db, 3)
        await put(db, unique_key="k")
        await put(db, TaskState.QUEUED, unique_key="k")
        view = await acts.preview("retry", which(state="failed"), ANN, reason="why not")
        await acts.confirm(view.row.id, BOB)
        await runner.run_once()
        (one,) = await audit.read(db, before=LATEST, limit=10)
        assert (one.who, one.face, one.what, one.reason) == ("bob", "shell", "retry", "why not")
        assert one.bulk_id == view.row.id
        assert json.loads(one.filter or "") == {"state": "failed"}
        assert json.loads(one.counts or "") == {"done": 3, "left_alone": {"key_taken": 1}}


class TestBatches:
    @pytest.fixture(autouse=True)
    def _of_ten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bulk_acts, "FIRST_BATCH", 10)
        monkeypatch.setattr(batches, "LARGEST", 10)

    async def test_who_follows_a_killed_leader_goes_on_where_the_last_batch_ended(
        self, db: Database, acts: BulkActs, client: TaskClient, settings: Settings
    ) -> None:
        made = await put_many(db, 25)
        bulk_id = await started(acts, "retry", which(state="failed"))
        assert await BulkBatches(client).run_one(bulk_id)
        view = await acts.get(bulk_id)
        assert (view.state, view.row.done, view.row.looked_at) == ("running", 10, 10)
        assert await queued(db) == {*made[:10]}
        await BulkRunner(client).run_once()
        assert (await acts.get(bulk_id)).row.done == 25

    async def test_a_batch_that_is_cut_off_leaves_nothing(
        self, db: Database, acts: BulkActs, client: TaskClient, settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        await put_many(db, 25)
        bulk_id = await started(acts, "retry", which(state="failed"))

        async def dies(*_: object) -> None:
            raise asyncio.CancelledError

        with monkeypatch.context() as patched:
            patched.setattr(audit, "count", dies)
            with pytest.raises(asyncio.CancelledError):
                await BulkBatches(client).run_one(bulk_id)
        assert await queued(db) == set()
        assert (await acts.get(bulk_id)).row.done == 0

    async def test_two_leaders_at_once_do_nothing_twice(
        self, db: Database, acts: BulkActs, client: TaskClient, settings: Settings
    ) -> None:
        await put_many(db, 60)
        bulk_id = await started(acts, "retry", which(state="failed"))
        await asyncio.gather(*(BulkRunner(client).run_once() for _ in range(2)))
        view = await acts.get(bulk_id)
        assert (view.row.done, view.row.looked_at, left(view)) == (60, 60, {})

    async def test_one_bad_row_stops_nobody_else(
        self, db: Database, acts: BulkActs, runner: BulkRunner
    ) -> None:
        made = await put_many(db, 25)
        await refuse(db, made[13])
        bulk_id = await started(acts, "retry", which(state="failed"))
        await runner.run_once()
        view = await acts.get(bulk_id)
        assert (view.state, view.row.done, left(view)) == ("done", 24, {"refused": 1})
        assert view.row.left_alone["refused"]["ids"] == [str(made[13])]
        assert await queued(db) == {*made} - {made[13]}

    async def test_a_row_that_somebody_holds_locked_stops_nobody_else(
        self, db: Database, acts: BulkActs, runner: BulkRunner, database_url: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(batches, "PATIENT_MS", 50)
        made = await put_many(db, 12)
        bulk_id = await started(acts, "retry", which(state="failed"))
        holder = await asyncpg.connect(database_url.replace("+asyncpg", ""))
        async with holder.transaction():
            await holder.execute("SELECT FROM task WHERE id = $1 FOR UPDATE", made[4])
            await runner.run_once()
        await holder.close()
        view = await acts.get(bulk_id)
        assert (view.row.done, left(view)) == (11, {"locked": 1})

    async def test_it_is_stopped_before_the_next_batch(
        self, db: Database, acts: BulkActs, client: TaskClient, settings: Settings
    ) -> None:
        await put_many(db, 25)
        bulk_id = await started(acts, "retry", which(state="failed"))
        runs = BulkBatches(client)
        assert await runs.run_one(bulk_id)
        assert (await acts.stop(bulk_id, BOB, "enough")).state == "stopping"
        assert (await acts.stop(bulk_id, BOB)).state == "stopping"
        assert not await runs.run_one(bulk_id)
        view = await acts.get(bulk_id)
        assert (view.state, view.row.done, view.row.stopped_by) == ("stopped", 10, "bob")
        with pytest.raises(ActRefused, match="is stopped: it does not run"):
            await acts.stop(bulk_id, BOB)
        stop = (await audit.read(db, before=LATEST, limit=1))[0]
        assert (stop.what, stop.who, stop.bulk_id, stop.reason) == (
            "stop",
            "bob",
            bulk_id,
            "enough",
        )

    async def test_a_window_without_any_that_is_meant_is_passed(
        self, db: Database, acts: BulkActs, runner: BulkRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "LOOKED_PER_TASK", 1)
        await put_many(db, 50)
        rare = await put(db, name="rare")
        bulk_id = await started(acts, "retry", which(name="rare"))
        assert await runner.run_once() >= 5
        view = await acts.get(bulk_id)
        assert (view.row.done, view.row.looked_at) == (1, 51)
        assert await queued(db) == {rare}

    @pytest.mark.parametrize(
        ("seconds", "following"), [(0.01, 200), (0.07, 100), (0.15, 50), (9.0, 50)]
    )
    def test_a_batch_is_as_large_as_its_time_allows(
        self, monkeypatch: pytest.MonkeyPatch, seconds: float, following: int
    ) -> None:
        monkeypatch.setattr(batches, "LARGEST", 1000)
        assert batches._next_size(100, seconds) == following
        assert batches._next_size(1, 9.0) == batches.SMALLEST
        assert batches._next_size(1000, 0.0) == 1000


@pytest.mark.parametrize(
    ("theirs", "error"),
    [
        ("act = 'explode'", "there is no act 'explode'"),
        ("""filter = '{"since_when": "7"}'""", "since_when is no word of a filter"),
        ("""filter = '{"state": "paused"}'""", "there is no such state"),
    ],
)
async def test_what_another_version_means_ends_says_so_and_holds_up_no_other(
    db: Database, acts: BulkActs, runner: BulkRunner, theirs: str, error: str
) -> None:
    await put(db)
    bulk_id = await started(acts, "retry", which(state="failed"))
    await db.execute_once(text(f"UPDATE bulk_act SET {theirs}"), {})
    fine = await started(acts, "retry", which(state="failed"))
    await runner.run_once()
    view = await acts.get(bulk_id)
    assert (view.state, view.row.done) == ("failed", 0)
    assert error in (view.row.error or "")
    assert (await acts.get(fine)).row.done == 1


async def test_an_act_whose_tasks_cannot_be_looked_for_ends_and_holds_up_no_other(
    db: Database, acts: BulkActs, runner: BulkRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(db)
    broken = await started(acts, "retry", which(state="failed", queue="broken"))
    fine = await started(acts, "retry", which(state="failed"))
    find = walk.find

    async def refuse_one(db: Statements, leg: Leg, meant: Meant, upper: UUID, **how: int) -> Any:
        if meant.queue == "broken":
            raise asyncpg.QueryCanceledError("took too long")
        return await find(db, leg, meant, upper, **how)

    monkeypatch.setattr(walk, "find", refuse_one)
    await runner.run_once()
    assert (await acts.get(fine)).row.done == 1
    view = await acts.get(broken)
    assert view.state == "failed"
    assert "cannot be looked for: QueryCanceledError: took too long" in (view.row.error or "")


async def test_a_worker_that_leads_runs_it(
    db: Database, acts: BulkActs, settings: Settings, registry: Registry
) -> None:
    @task("x", registry=registry)
    async def x(ctx: TaskContext) -> None: ...

    await put(db)
    bulk_id = await started(acts, "retry", which(state="failed"))

    async def has_ended() -> bool:
        return (await acts.get(bulk_id)).row.ended_at is not None

    async with running(settings, registry=registry):
        await until(has_ended)
    assert (await acts.get(bulk_id)).row.done == 1


async def test_the_leader_forgets_old_entries_and_previews(
    db: Database, acts: BulkActs, runner: BulkRunner, client: TaskClient, settings: Settings
) -> None:
    await put(db)
    await started(acts, "retry", which(state="failed"))
    await runner.run_once()
    await acts.preview("retry", which(state="failed"), ANN)
    pruner = AuditPruner(client)
    assert await pruner.run_once() == 0
    long_ago = "now() - interval '366 days'"
    for change in (
        f"UPDATE audit SET at = {long_ago}",
        f"UPDATE bulk_act SET previewed_at = {long_ago}",
        f"UPDATE bulk_act SET ended_at = {long_ago} WHERE ended_at IS NOT NULL",
    ):
        await db.execute_once(text(change), {})
    assert await pruner.run_once() == 1
    assert (await db.execute_once(text("SELECT count(*) FROM bulk_act"), {})).scalar_one() == 0


async def ids(db: Database) -> Sequence[UUID]:
    return (await db.execute_once(text("SELECT id FROM task"), {})).scalars().all()


async def refuse(db: Database, task_id: UUID) -> None:
    """Let Postgres refuse every change of a task."""
    await db.execute_once(
        text(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'not this one'; END $$"
        ),
        {},
    )
    await db.execute_once(
        text(
            "CREATE TRIGGER refuse BEFORE UPDATE ON worker.task FOR EACH ROW "
            f"WHEN (OLD.id = '{task_id}') EXECUTE FUNCTION refuse()"
        ),
        {},
    )


async def variety(db: Database) -> dict[UUID, dict[str, Any]]:
    """Settled tasks, each of another kind."""
    rows: dict[UUID, dict[str, Any]] = {}
    kinds: list[dict[str, Any]] = [
        {"name": "a", "user_id": "u"},
        {"name": "a", "user_id": "u", "state": TaskState.CANCELLED},
        {"name": "b.c", "queue": "q"},
        {"name": "b.d", "state": TaskState.SUCCEEDED, "ago": 120.0},
        {"name": "a", "state": TaskState.CANCELLED, "error": "Boom"},
        {"name": "c", "worker": "w", "schedule": "s"},
    ]
    for row in kinds:
        columns = {
            key: row[key] for key in row if key not in ("state", "error", "worker", "schedule")
        }
        id_ = await put(db, row.get("state", TaskState.FAILED), **columns)
        rows[id_] = row
        further = text(
            "UPDATE task SET worker = :worker, tick = CASE WHEN :schedule <> '' THEN now() END, "
            "headers = json_build_object('uow-schedule', CAST(:schedule AS text)) WHERE id = :id"
        )
        values = {"id": id_, "worker": row.get("worker"), "schedule": row.get("schedule", "")}
        await db.execute_once(further, values)
        if "error" in row:
            columns_ = "(task_id, attempt, error_type, message)"
            noted = text(f"INSERT INTO task_error {columns_} VALUES (:id, 1, 'Boom', '')")
            await db.execute_once(noted, {"id": id_})
    return rows


def fits(row: dict[str, Any], words: dict[str, str]) -> bool:
    """Whether a filter means that row."""
    state = row.get("state", TaskState.FAILED)
    tests: dict[str, Callable[[str], bool]] = {
        "name": lambda word: row["name"] == word or (word[-1] == "*" and row["name"][:2] == "b."),
        "queue": lambda word: row.get("queue") == word,
        "user": lambda word: row.get("user_id") == word,
        "state": lambda word: state in word.split(","),
        "worker": lambda word: row.get("worker") == word,
        "since": lambda _: True,
        "until": lambda _: False,
        "settled-since": lambda _: row.get("ago", 60.0) < 90,
        "settled-until": lambda _: row.get("ago", 60.0) > 90,
        "error": lambda word: row.get("error") == word,
        "schedule": lambda word: row.get("schedule") == word,
    }
    return all(tests[word](value) for word, value in words.items())
