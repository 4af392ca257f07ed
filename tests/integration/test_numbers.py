"""Numbers: what waits, runs, ends and fails, and how far each is to be believed."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.ended import alike
from tests.integration.test_plans import generic_plan
from tests.ticks import fire
from uow import Database, InvalidOptions, Settings, TaskContext, cron, task
from uow.broker.redis import RedisClient, connect
from uow.db import rollup
from uow.db.backlog import LOOKED_AT
from uow.db.statement import TEMPLATES, Template
from uow.questions.failures import failures, hours_of
from uow.questions.loads import Load
from uow.questions.number import Number, Percentiles
from uow.questions.numbers import name_loads, points, queue_loads
from uow.questions.schedules import shown_schedules
from uow.questions.servers import server_numbers
from uow.questions.user import user_numbers
from uow.services.count_merger import CountMerger
from uow.services.counts import Counts, Slice, to_text
from uow.tasks.registry import Registry

DEAD_AFTER = 10.0


async def say(db: Database, statement: str, **values: Any) -> None:
    await db.execute_once(text(statement), values)


async def insert(db: Database, n: int, columns: str, values: str) -> None:
    """`n` tasks, numbered by `i`."""
    await say(
        db,
        f"INSERT INTO task (id, {columns}) SELECT gen_random_uuid(), {values} "
        f"FROM generate_series(1, {n}) AS i",
    )


async def put(
    db: Database, ago: float, n: int, *, name: str = "f", queue: str = "q",
    how: str = "completed", waited: float = 0.1, error: str | None = None,
) -> None:  # fmt: skip
    """So many attempts have ended so many seconds ago; added up at once."""
    counts = Counts()
    counts.note(alike(name, queue, how, waited, 2.0, error, n=n))
    text_ = to_text([Slice(ago, counts)])
    await rollup.write_counts(db, uuid4().hex, 1, text_, limit=10)
    await CountMerger(db).run_once()


async def test_what_waits_is_counted_by_queue_and_by_name(db: Database) -> None:
    await insert(db, 7, "name, queue, run_at", "'f', 'mail', now() - i * interval '1 minute'")
    tomorrow = "now() + interval '1 day'"
    await insert(db, 2, "name, queue, run_at, dispatch_at", f"'g', 'mail', {tomorrow}, {tomorrow}")
    await insert(db, 3, "name, queue, dispatch_at", "'f', 'other', 'infinity'")
    await insert(db, 5, "name, queue, state, settled_at", "'f', 'mail', 'succeeded', now()")
    mail, other = await queue_loads(db, DEAD_AFTER)
    assert (mail.name, mail.waiting, mail.later) == ("mail", Number(7, "exact"), Number(2, "exact"))
    assert mail.oldest_seconds is not None
    assert mail.oldest_seconds.value == pytest.approx(420, abs=30)
    assert (other.name, other.waiting) == ("other", Number(3, "exact"))
    f, g = await name_loads(db, DEAD_AFTER)
    assert [(one.name, one.waiting.value, one.later.value) for one in (f, g)] == [
        ("f", 10, 0), ("g", 0, 2),
    ]  # fmt: skip
    (alone,) = await name_loads(db, DEAD_AFTER, queue="other")
    assert (alone.name, alone.waiting.value) == ("f", 3)
    (alone,) = await queue_loads(db, DEAD_AFTER, name="g")
    assert (alone.name, alone.later.value) == ("mail", 2)


@pytest.mark.parametrize("dispatch_at", ["now()", "'infinity'"], ids=["not pushed", "pushed"])
async def test_a_count_is_capped_and_says_so(db: Database, dispatch_at: str) -> None:
    await insert(db, LOOKED_AT + 1, "name, queue, dispatch_at", f"'f', 'mail', {dispatch_at}")
    (mail,) = await queue_loads(db, DEAD_AFTER)
    assert mail.waiting == Number(LOOKED_AT, "capped")
    assert str(mail.waiting) == "10,000+"
    assert mail.oldest_seconds is not None
    assert mail.oldest_seconds.source == "capped"


async def test_what_runs_is_what_live_processes_said_last(db: Database) -> None:
    await insert(db, 3, "name, queue, state, started_at, dispatch_at",
                 "'f', 'mail', 'running', now() - i * interval '1 minute', 'infinity'")  # fmt: skip
    await say(
        db,
        "INSERT INTO worker_process (id, queue, running, heartbeat_at) "
        "SELECT 'live', 'mail', array_agg(id), now() FROM task UNION ALL "
        "SELECT 'dead', 'mail', array_agg(id), now() - interval '1 hour' FROM task",
    )
    (mail,) = await queue_loads(db, DEAD_AFTER)
    assert (mail.waiting, mail.running) == (Number(0, "exact"), Number(3, "exact"))
    assert mail.longest_seconds is not None
    assert mail.longest_seconds.value == pytest.approx(180, abs=30)


async def test_redis_says_how_many_jobs_a_queue_has_or_is_left_out(
    db: Database, redis: RedisClient
) -> None:
    await insert(db, 1, "name, queue", "'f', 'mail'")
    await insert(db, 1, "name, queue", "'f', 'strange'")
    await redis.zadd("mail", {"a": 1, "b": 2})
    await redis.set("strange", "no queue")
    mail, strange = await queue_loads(db, DEAD_AFTER, redis)
    assert (mail.in_redis, strange.in_redis) == (Number(2, "exact"), None)
    away = connect("redis://127.0.0.1:1/0")
    mail, _ = await queue_loads(db, DEAD_AFTER, away)
    assert (mail.waiting, mail.in_redis) == (Number(1, "exact"), None)
    await away.aclose()


async def test_rates_and_percentiles_come_from_the_rollup(db: Database) -> None:
    await put(db, 90, 90, waited=0.01)
    await put(db, 90, 10, waited=1.0, how="failed", error="ValueError")
    await put(db, 1800, 20)
    await put(db, 7200, 50, queue="r")
    await put(db, 30 * 3600, 1000)
    q, r = await queue_loads(db, DEAD_AFTER)
    hour, day = q.rates["hour"], q.rates["day"]
    assert hour.ended == {"completed": 110, "failed": 10}
    assert hour.until - hour.since == timedelta(hours=1)
    assert hour.per_second == pytest.approx(120 / 3600)
    assert hour.waited.p50 == pytest.approx(0.01, rel=0.2)
    assert hour.waited.p99 == pytest.approx(1.0, rel=0.2)
    assert hour.ran.p50 == pytest.approx(2.0, rel=0.2)
    assert (hour.source, hour.waited.source, hour.ran.source) == ("rollup",) * 3
    assert day.ended["failed"] == 10
    assert set(r.rates) == {"day"}
    assert r.rates["day"].ended == {"completed": 50}


async def test_the_minute_that_is_shown_is_complete(db: Database) -> None:
    await put(db, 0, 5)
    (q,) = await queue_loads(db, DEAD_AFTER)
    assert "minute" not in q.rates
    at = text("SELECT date_part('epoch', clock_timestamp() - date_trunc('minute', "
              "now() - interval '30 seconds'))")  # fmt: skip
    since_end = float((await db.execute_once(at, {})).scalar_one())
    await put(db, since_end + 10, 7)
    await put(db, since_end + 80, 9)
    (q,) = await queue_loads(db, DEAD_AFTER)
    assert q.rates["minute"].ended["completed"] in (7, 9)  # should one just have begun
    assert q.rates["minute"].until - q.rates["minute"].since == timedelta(minutes=1)


@pytest.mark.parametrize("span", ["minute", "hour", "day"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
async def test_a_plot_has_a_point_for_each_time_in_which_something_ended(
    db: Database, span: Any, zone: str
) -> None:
    length = {"minute": 60, "hour": 3600, "day": 86_400}[span]
    await say(db, f"ALTER DATABASE {db.engine.url.database} SET timezone = '{zone}'")
    await db.engine.dispose()
    for back in (0, 1, 3, 10):
        await put(db, back * length, back + 1, name="f")
    await put(db, 0, 100, name="g")
    found = await points(db, span, 6, name="f")
    now = datetime.now(UTC).timestamp()
    assert [one.ended["completed"] for one in found] == [4, 2, 1]
    assert [one.at.timestamp() % length for one in found] == [0, 0, 0]
    assert found[-1].at.timestamp() == pytest.approx(now, abs=length + 10)
    assert {one.source for one in found} == {"rollup"}


@pytest.mark.parametrize("span", ["minute", "hour", "day"])
async def test_a_plot_has_each_attempt_once_whatever_is_told_apart(db: Database, span: Any) -> None:
    await put(db, 0, 1, name="f")
    await put(db, 0, 2, name="f", queue="r")
    await put(db, 0, 4, name="g")
    found = [
        [one.ended["completed"] for one in await points(db, span, 2, **fits)]
        for fits in ({}, {"queue": "q"}, {"name": "f"}, {"name": "f", "queue": "r"})
    ]
    assert found == [[7], [5], [3], [2]]


async def test_rates_have_each_attempt_once_whatever_is_told_apart(db: Database) -> None:
    await put(db, 90, 1, name="f")
    await put(db, 90, 2, name="f", queue="r")
    await put(db, 90, 4, name="g")

    def ended(found: list[Load]) -> dict[str, int]:
        return {one.name: one.rates["hour"].ended["completed"] for one in found}

    assert ended(await queue_loads(db, DEAD_AFTER)) == {"q": 5, "r": 2}
    assert ended(await queue_loads(db, DEAD_AFTER, name="f")) == {"q": 1, "r": 2}
    assert ended(await name_loads(db, DEAD_AFTER)) == {"f": 3, "g": 4}
    assert ended(await name_loads(db, DEAD_AFTER, queue="q")) == {"f": 1, "g": 4}


async def test_failures_by_type_by_name_and_by_hour(db: Database) -> None:
    await put(db, 0, 5, how="failed", error="ValueError")
    await put(db, 3600, 3, how="retry", error="ValueError", name="g")
    await put(db, 3600, 4, how="failed", error="KeyError", name="g")
    await put(db, 30 * 3600, 4, how="failed", error="Old", name="g")
    by_type = await failures(db)
    assert [(one.key, one.failed, one.names) for one in by_type] == [
        ("ValueError", Number(8, "rollup"), 2), ("KeyError", Number(4, "rollup"), 1),
    ]  # fmt: skip
    by_name = await failures(db, "name")
    assert [(one.key, one.failed.value, one.types) for one in by_name] == [("g", 7, 2), ("f", 5, 1)]
    by_hour = await failures(db, "hour", name="g")
    assert [(type(one.key), one.failed.value) for one in by_hour] == [(datetime, 7)]
    assert [one.key for one in await failures(db, hours=48, error="Old")] == ["Old"]
    assert await failures(db, hours=1, name="g") == []


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
async def test_failures_of_whole_days_and_of_the_hours_before_them_are_each_counted_once(
    db: Database, zone: str
) -> None:
    await say(db, f"ALTER DATABASE {db.engine.url.database} SET timezone = '{zone}'")
    await db.engine.dispose()
    for back in range(60):
        await put(db, 3600 * back, 1, how="failed", error=f"Error{back % 2}")
    for hours in range(1, 61):
        by_type = await failures(db, hours=hours)
        each = [one.since for one in await failures(db, "hour", hours=hours)]
        assert len(each) == hours
        assert sum(one.failed.value for one in by_type) == hours
        assert min(one.since for one in by_type) == min(each)
        assert max(one.latest for one in by_type) == max(each)
        assert [one.names for one in by_type] == [1] * min(hours, 2)


def test_how_far_back_is_said_in_hours_at_least() -> None:
    assert [hours_of(since) for since in ("0m", "59m", "90m", "12h", " 3d ", "1w")] == [
        1, 1, 2, 13, 73, 169,
    ]  # fmt: skip
    for wrong in ("", "12", "h", "-1h", "1y", "91d", "99999999h", "1h2m"):
        with pytest.raises(InvalidOptions, match="since="):
            hours_of(wrong)


async def test_a_users_numbers_are_those_of_the_newest_tasks(db: Database) -> None:
    mine = "name, queue, user_id, state, run_at, started_at, settled_at"
    done = (
        "now() - interval '10 seconds', now() - interval '8 seconds', now() - interval '5 seconds'"
    )
    await say(db, f"INSERT INTO task ({mine}) SELECT 'f', 'q', 'ann', 'succeeded', {done} "
              "FROM generate_series(1, 6)")  # fmt: skip
    await say(db, "INSERT INTO task (name, queue, user_id) VALUES ('g', 'q', 'ann')")
    await say(db, f"INSERT INTO task ({mine}) SELECT 'f', 'q', 'bob', 'succeeded', {done}")
    ann = await user_numbers(db, "ann")
    assert (ann.looked_at, ann.waiting) == (Number(7, "exact"), Number(1, "exact"))
    assert ann.states == {"succeeded": Number(6, "exact"), "queued": Number(1, "exact")}
    assert ann.names == {"f": Number(6, "exact"), "g": Number(1, "exact")}
    assert ann.rates["minute"].ended == {"succeeded": 6}
    assert ann.rates["hour"].waited.p50 == pytest.approx(2.0, abs=0.1)
    assert ann.rates["hour"].ran.p99 == pytest.approx(3.0, abs=0.1)
    capped = await user_numbers(db, "ann", limit=5)
    assert capped.looked_at == Number(5, "capped")
    assert capped.names["g"] == Number(1, "capped")
    assert capped.rates["minute"].source == capped.rates["minute"].ran.source == "capped"
    nobody = await user_numbers(db, "nobody")
    assert (nobody.looked_at, nobody.oldest_seconds, nobody.rates) == (Number(0, "exact"), None, {})


async def test_the_servers_say_how_large_they_are(db: Database, redis: RedisClient) -> None:
    found = await server_numbers(db, redis)
    tables = {one.name: one for one in found.tables}
    assert {"task", "rollup", "schedule_tick", "worker_alembic_version"} <= set(tables)
    assert tables["task"].bytes.source == "exact"
    assert tables["task"].bytes.value > 8000
    assert tables["task"].dead.source == "estimate"
    assert found.replicas == []
    assert found.redis is not None
    assert found.redis.used.value > 0
    assert (found.redis.policy, found.redis_trouble) == ("noeviction", None)
    away = connect("redis://127.0.0.1:1/0")
    found = await server_numbers(db, away)
    assert (found.redis, [*found.unknown]) == (None, ["redis"])
    assert found.redis_trouble == found.unknown["redis"]
    assert found.tables
    assert found.postgres is not None
    await away.aclose()


@pytest.mark.parametrize("part", ["table_sizes", "read_replicas", "server_facts"])
async def test_what_a_server_refuses_is_unknown_and_the_rest_is_there(
    db: Database, redis: RedisClient, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    broken = Template("SELECT 1 / 0", {})
    monkeypatch.setattr(TEMPLATES[part], "written", lambda _: broken.written("x"))
    found = await server_numbers(db, redis)
    name = {"table_sizes": "tables", "read_replicas": "replicas", "server_facts": "postgres"}[part]
    assert found.unknown == {name: "Postgres does not say: DivisionByZeroError"}
    assert found.redis is not None
    assert bool(found.tables) == (part != "table_sizes")
    assert (found.postgres is None) == (part == "server_facts")


async def test_without_postgres_redis_is_told_of_all_the_same(redis: RedisClient) -> None:
    async with Database("postgresql+asyncpg://user@127.0.0.1:1/none") as nowhere:
        found = await server_numbers(nowhere, redis)
    assert (found.postgres, found.tables, found.replicas) == (None, [], [])
    assert {*found.unknown} == {"postgres", "tables", "replicas"}
    assert found.redis is not None
    assert found.redis.version.startswith(("redis ", "valkey "))


async def test_schedules_are_shown_with_their_latest_ticks(
    db: Database, registry: Registry, settings: Settings
) -> None:
    @cron("0 9 * * mon-fri", timezone="Europe/Berlin", name="daily")
    @task("reports.make", registry=registry)
    async def make(ctx: TaskContext) -> None: ...

    await fire(db, settings, registry)
    (shown,) = await shown_schedules(db, settings.app)
    assert (shown.app, shown.name, shown.task) == ("worker", "daily", "reports.make")
    assert (shown.state, shown.expression, len(shown.next_ticks)) == (
        "active",
        "0 9 * * mon-fri",
        5,
    )
    (tick,) = shown.ticks
    assert (tick.fate, tick.state, tick.task_id) == ("fired", "queued", shown.last_task_id)


PLANS = {
    "load": {"ix_task_dispatch": 2, "pk_task": 1},
    "tasks_of_user": {"ix_task_user": 1, "ROW(user_id, id) <= ": 1},
    "rates_by_queue": {"pk_rollup on rollup ": 2, "pk_rollup_hour": 2},
    "rates_by_name": {"pk_rollup on rollup ": 2, "pk_rollup_hour": 2},
    "rates_and_minutes_by_queue": {"pk_rollup on rollup ": 3, "pk_rollup_hour": 2},
    "rates_and_minutes_by_name": {"pk_rollup on rollup ": 3, "pk_rollup_hour": 2},
    "rates_of_one_by_queue": {"pk_rollup on rollup ": 3, "pk_rollup_error": 1},
    "rates_of_one_by_name": {"pk_rollup on rollup ": 3, "pk_rollup_error": 1},
    "fleet_around": {"ix_schedule_tick_noted_at": 1, "pause": 1},
    "points_by_minute": {"pk_rollup": 1},
    "waits_by_minute": {"pk_rollup": 1},
    "points_by_hour": {"pk_rollup_hour": 1},
    "points_by_day": {"pk_rollup_hour": 1},
    "errors_by_error": {"pk_rollup_error on ": 1, "pk_rollup_error_day on ": 1},
    "errors_by_name": {"pk_rollup_error on ": 1, "pk_rollup_error_day on ": 1},
    "errors_by_hour": {"pk_rollup_error": 1},
    "error_matrix": {"pk_rollup_error": 1},
    "error_matrix_of_days": {"pk_rollup_error_day": 1},
    "latest_ticks": {"pk_schedule_tick": 1, "pk_task": 1},
}  # fmt: skip

BOUND = ("enable_seqscan = off", "enable_bitmapscan = off", "enable_sort = off")
"""As `bounded_reading` says it."""


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled and never analyzed"])
async def test_numbers_are_read_through_indexes_alone(
    db: Database, name: str, filled: bool
) -> None:
    if filled:
        await say(db, "ALTER TABLE task SET (autovacuum_enabled = off)")
        await insert(db, 20_000, "name, queue, user_id", "'f' || i % 7, 'mail', 'u' || i % 50")
    plan = await generic_plan(db, name, *BOUND)
    for index, times in PLANS[name].items():
        assert plan.count(index) >= times, plan
    for table in ("task", "rollup", "rollup_hour", "rollup_error", "rollup_error_day",
                  "schedule_tick"):  # fmt: skip
        assert f"Seq Scan on {table} " not in plan, plan
    assert "Index Cond" in plan


async def test_a_question_is_asked_in_few_statements(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uow.db.transaction import Transaction

    asked: list[object] = []
    execute = Transaction.execute_once

    async def counted(self: Transaction, statement: Any, **options: Any) -> Any:
        asked.append(statement)
        return await execute(self, statement, **options)

    monkeypatch.setattr(Transaction, "execute_once", counted)
    await queue_loads(db, DEAD_AFTER)
    assert len(asked) == 3


async def test_percentiles_of_few_values_are_values(db: Database) -> None:
    assert Percentiles.of_values([3.0, 1.0, 2.0], "exact") == Percentiles(2.0, 3.0, 3.0, "exact")
    assert Percentiles.of_values([], "exact") == Percentiles(None, None, None, "exact")
