"""Schedules on a real database: each tick once, whoever leads, whatever was deployed."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from tests.statements import clause
from uow import Database, Settings, TaskClient, TaskContext, cron, task
from uow.db import pruning
from uow.errors import InvalidSchedule, ScheduleNotFound
from uow.schedules.by_hand import Schedules
from uow.schedules.cron import schedules_of
from uow.schedules.registrar import Registrar
from uow.schedules.retirement import Retirement
from uow.schedules.scheduler import INTERVAL_SECONDS, WAITING_SECONDS, Scheduler
from uow.services.pruning import START
from uow.tasks.registry import Registry

TASKS = text(
    "SELECT id, name, state, tick, run_at, CAST(args AS text) AS args, queue "
    "FROM task ORDER BY tick"
)
TICKS = text("SELECT name, tick, until, fate, task_id FROM schedule_tick ORDER BY tick")


@pytest.fixture
def scheduler(db: Database) -> Scheduler:
    """That of a process which has lived for a minute."""
    scheduler = Scheduler(db, wake_relay=lambda: None)
    scheduler._began -= 60
    return scheduler


Deploy = Callable[..., Awaitable[Registrar]]


@pytest.fixture
def deploy(db: Database, settings: Settings) -> Deploy:
    """Start "a process" whose code has one schedule, `nightly`, as the values say."""

    async def start(
        expression: str = "0 0 1 1 *", app: str = "worker", name: str = "nightly", **values: Any
    ) -> Registrar:
        registry = Registry()

        @cron(expression, name=name, **values)
        @task("report", registry=registry)
        async def report(ctx: TaskContext, n: int = 0) -> None: ...

        of_app = settings.model_copy(update={"app": app})
        registrar = Registrar(db, schedules_of(registry), of_app)
        await registrar.run_once()
        return registrar

    return start


async def rows(db: Database, statement: Any = TASKS) -> list[Any]:
    return list((await db.execute_once(statement, {})).all())


async def schedule(db: Database, name: str = "nightly") -> Any:
    found = text("SELECT *, CAST(definition AS text) AS said FROM schedule WHERE name = :name")
    return (await db.execute_once(found, {"name": name})).one()


async def due_since(db: Database, **ago: float) -> None:
    """The next tick was so long ago: nobody has looked since."""
    await db.execute_once(
        text(
            "UPDATE schedule SET next_tick = date_trunc('second', now()) "
            "- make_interval(secs => CAST(:ago AS double precision))"
        ),
        {"ago": timedelta(**ago).total_seconds()},
    )


async def age(db: Database, table: str, column: str, seconds: float, where: str = "true") -> None:
    await db.execute_once(
        text(f"UPDATE {table} SET {column} = {column} - make_interval(secs => {seconds}) "
             f"WHERE {where}"), {},
    )  # fmt: skip


class TestTheQueue:
    @pytest.fixture
    def pool(self, db: Database, settings: Settings) -> Callable[..., Registrar]:
        """A process of the same code, with settings of its own."""
        registry = Registry()

        @cron("0 0 1 1 *", name="nightly")
        @task("report", registry=registry)
        async def report(ctx: TaskContext) -> None: ...

        @cron("0 0 1 1 *", name="named")
        @task("elsewhere", queue="named", registry=registry)
        async def elsewhere(ctx: TaskContext) -> None: ...

        return lambda **values: Registrar(
            db, schedules_of(registry), settings.model_copy(update=values)
        )

    async def queues(self, db: Database) -> tuple[str, str]:
        said = [json.loads((await schedule(db, name)).said) for name in ("nightly", "named")]
        return said[0]["queue"], said[1]["queue"]

    async def test_is_the_functions_or_the_apps_whoever_registers_last(
        self, db: Database, pool: Callable[..., Registrar]
    ) -> None:
        started: list[Registrar] = []
        for queue in ("main", "slow", "main", "slow"):
            started.append(pool(queue=queue))
            for process in started:
                await process.run_once()
                assert await self.queues(db) == ("main", "named")

    async def test_is_no_business_of_a_process_that_does_not_serve_it(
        self, db: Database, pool: Callable[..., Registrar]
    ) -> None:
        await pool(queue="nobodys", queues=("slow",)).run_once()
        await pool(queue="main").run_once()
        await pool(queue="nobodys", queues=("slow",)).run_once()
        assert await self.queues(db) == ("main", "named")

    async def test_moves_when_the_last_worker_that_has_said_it_has_been_gone_for_5_minutes(
        self, db: Database, pool: Callable[..., Registrar]
    ) -> None:
        await pool(queue="old").run_once()
        new, other = pool(queue="new", queues=("new", "old")), pool(queue="third")
        for gone, now_in in ((200, "old"), (301, "new"), (200, "new")):
            await age(db, "worker_app", "seen_at", gone)
            await new.run_once()
            await other.run_once()
            assert (await self.queues(db))[0] == now_in

    async def test_of_one_app_is_nothing_to_another(
        self, db: Database, pool: Callable[..., Registrar]
    ) -> None:
        await pool(queue="main").run_once()
        await pool(app="other", queue="others").run_once()
        found = text("SELECT app, definition ->> 'queue' FROM schedule WHERE name = 'nightly'")
        there = {row.app: row[1] for row in await rows(db, found)}
        assert there == {"worker": "main", "other": "others"}


async def test_a_burst_that_takes_long_does_not_retire_what_it_has_in_its_code(
    db: Database, settings: Settings, deploy: Deploy
) -> None:
    await deploy()
    before = await schedule(db)
    await age(db, "schedule", "seen_at", 400)
    process = text(
        "INSERT INTO worker_process (id, queue, running, started_at) "
        "VALUES ('a burst', 'arq:queue', '{}', now() - interval '10 minutes')"
    )
    await db.execute_once(process, {})
    registry = Registry()

    @cron("0 0 1 1 *", name="nightly")
    @task("report", registry=registry)
    async def report(ctx: TaskContext, n: int = 0) -> None: ...

    await Registrar(db, schedules_of(registry), settings, stays=False).run_once()
    await Retirement(db, 60.0).run_once()
    after = await schedule(db)
    assert after.removed_at is None
    assert after.said == before.said


async def test_a_burst_registers_nothing(db: Database, registry: Registry, drain: Drain) -> None:
    @cron("0 0 1 1 *")
    @task("report", registry=registry)
    async def report(ctx: TaskContext) -> None: ...

    await drain()
    for table in ("schedule", "schedule_version", "worker_app"):
        assert await rows(db, text(f"SELECT * FROM {table}")) == []


class TestATick:
    async def test_has_one_task_with_the_schedules_arguments(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy(arguments={"n": 7})
        await due_since(db, seconds=1)
        assert await scheduler.run_once() == 1
        assert await scheduler.run_once() == 0
        (made,) = await rows(db)
        (tick,) = await rows(db, TICKS)
        assert (made.name, made.args, made.state, made.queue) == (
            "report", '{"n":7}', "queued", "arq:queue",
        )  # fmt: skip
        assert (tick.fate, tick.task_id, tick.tick) == ("fired", made.id, made.tick)
        after = await schedule(db)
        assert (after.last_tick, after.last_task_id) == (tick.tick, made.id)
        assert after.next_tick > tick.tick

    async def test_runs_as_a_task_that_knows_its_tick(
        self, db: Database, settings: Settings, scheduler: Scheduler, registry: Registry,
        drain: Drain,
    ) -> None:  # fmt: skip
        seen: list[object] = []

        @cron("0 0 1 1 *", arguments={"n": 3})
        @task("told", registry=registry)
        async def told(ctx: TaskContext, n: int) -> None:
            seen.append((n, ctx["task"].tick))

        await Registrar(db, schedules_of(registry), settings).run_once()
        await due_since(db, seconds=1)
        await scheduler.run_once()
        await drain()
        (made,) = await rows(db)
        assert made.state == "succeeded"
        assert seen == [(3, made.tick)]

    async def test_has_one_task_however_many_believe_that_they_lead(
        self, db: Database, deploy: Deploy
    ) -> None:
        await deploy("* * * * * *")
        await due_since(db, seconds=10)
        leaders = [Scheduler(db, wake_relay=lambda: None) for _ in range(8)]
        for leader in leaders:
            leader._began -= 60
        await asyncio.gather(*(leader.run_once() for leader in leaders))
        made = await rows(db)
        assert len({one.tick for one in made}) == len(made) >= 11

    async def test_that_was_noted_is_never_made_again_though_the_schedule_went_back(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy()
        await due_since(db, seconds=1)
        before = await schedule(db)
        await scheduler.run_once()
        await db.execute_once(
            text("UPDATE schedule SET next_tick = :then"), {"then": before.next_tick}
        )
        assert await scheduler.run_once() == 0
        assert len(await rows(db)) == 1

    async def test_is_rolled_back_with_its_task_when_the_leader_dies_before_its_commit(
        self, db: Database, scheduler: Scheduler, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await deploy()
        await due_since(db, seconds=1)

        def die(point: str) -> None:
            raise ConnectionError(point)

        monkeypatch.setattr("uow.schedules.scheduler.reach", die)
        with pytest.raises(ConnectionError, match="ticked"):
            await scheduler.run_once()
        assert await rows(db) == await rows(db, TICKS) == []
        monkeypatch.undo()
        assert await scheduler.run_once() == 1

    async def test_is_started_later_by_its_part_of_the_jitter(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy(jitter=3600)
        await due_since(db, seconds=1)
        await scheduler.run_once()
        (made,) = await rows(db)
        assert timedelta(0) < made.run_at - made.tick < timedelta(hours=1)
        assert made.state == "scheduled"

    async def test_of_many_schedules_is_found_in_one_pass(
        self, db: Database, settings: Settings, scheduler: Scheduler
    ) -> None:
        registry = Registry()

        @task("many", registry=registry)
        async def many(ctx: TaskContext, n: int) -> None: ...

        for n in range(250):
            cron("0 0 1 1 *", arguments={"n": n})(many)
        await Registrar(db, schedules_of(registry), settings).run_once()
        await due_since(db, seconds=1)
        assert await scheduler.run_once() == 250
        assert len({one.args for one in await rows(db)}) == 250

    async def test_the_leader_sleeps_until_the_next_one(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await scheduler.run_once()
        assert scheduler.interval == 1.0
        await deploy()
        await scheduler.run_once()
        assert scheduler.interval == 1.0  # somebody may change it meanwhile
        await db.execute_once(text("UPDATE schedule SET next_tick = now() + interval '300 ms'"), {})
        await scheduler.run_once()
        assert 0 <= scheduler.interval <= 0.3


class TestMissedTicks:
    @pytest.mark.parametrize(
        ("missed", "made", "fates"),
        [
            ("latest", 1, ["missed", "fired"]),
            ("all", 3, ["fired", "fired", "fired"]),
            ("skip", 0, ["missed"]),
        ],
    )
    async def test_the_policy_decides_and_what_was_missed_is_visible(
        self, missed: str, made: int, fates: list[str], db: Database, scheduler: Scheduler,
        deploy: Deploy,
    ) -> None:  # fmt: skip
        await deploy(missed=missed)
        await db.execute_once(  # three yearly ones
            text(
                "UPDATE schedule SET next_tick = "
                "date_trunc('year', now(), 'UTC') - interval '2 years'"
            ),
            {},
        )
        assert await scheduler.run_once() == made
        ticks = await rows(db, TICKS)
        assert [one.fate for one in ticks] == fates
        years = [one.tick.year for one in await rows(db)]
        lost = [y for one in ticks if one.until for y in range(one.tick.year, one.until.year + 1)]
        assert sorted(years + lost) == [2024, 2025, 2026]

    @pytest.mark.parametrize(("beaten", "made"), [(0, 6), (3, 1)])
    async def test_a_tick_at_which_another_worker_was_there_is_late_and_not_missed(
        self, beaten: int, made: int, db: Database, deploy: Deploy
    ) -> None:
        """The leader was killed; or all workers were, and this one has just started."""
        await deploy("* * * * * *", missed="skip", grace=1.5)
        await beat(db, "worker", old=True)
        await age(db, "worker_process", "heartbeat_at", beaten)
        await due_since(db, seconds=5)
        found = await Scheduler(db, wake_relay=lambda: None).run_once()
        assert made <= found <= made + 1

    async def test_all_ticks_of_a_new_worker_that_starts_late_are_missed_but_the_latest(
        self, db: Database, deploy: Deploy
    ) -> None:
        await deploy("0 0 1 1 *")
        await due_since(db, seconds=5)
        assert await Scheduler(db, wake_relay=lambda: None).run_once() == 1

    async def test_a_new_schedule_never_runs_the_past(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("* * * * * *", missed="all")
        found = await schedule(db)
        assert found.next_tick > found.created_at
        assert found.last_tick is None


class TestADeploy:
    async def test_an_expression_that_is_changed_holds_from_now_on(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("0 0 1 1 *")
        await deploy("0 0 2 2 *")
        found = await schedule(db)
        assert (found.next_tick.month, found.next_tick.day) == (2, 2)
        assert await scheduler.run_once() == 0

    async def test_the_newest_version_wins_and_the_old_processes_do_not_take_it_back(
        self, db: Database, deploy: Deploy
    ) -> None:
        old = await deploy("0 0 1 1 *")
        new = await deploy("0 0 2 2 *")
        for registrar in (old, new, old):
            assert await registrar.run_once() == 0
        await age(db, "schedule_version", "seen_at", 31)
        await deploy("0 0 1 1 *")  # an old process that has crashed is restarted
        assert "0 0 2 2 *" in (await schedule(db)).said

    async def test_after_a_rollback_the_old_version_wins_when_the_new_one_is_gone(
        self, db: Database, deploy: Deploy
    ) -> None:
        old = await deploy("0 0 1 1 *")
        await deploy("0 0 2 2 *")
        await age(
            db, "schedule_version", "seen_at", 301, "definition ->> 'expression' LIKE '% 2 *'"
        )
        assert await old.run_once() == 1
        assert "0 0 1 1 *" in (await schedule(db)).said
        new = await deploy("0 0 2 2 *")  # deployed again
        assert "0 0 2 2 *" in (await schedule(db)).said
        assert await new.run_once() == 0

    async def test_an_old_process_that_was_stopped_for_long_does_not_win(
        self, db: Database, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = await deploy("0 0 1 1 *")
        await deploy("0 0 2 2 *")
        await age(
            db, "schedule_version", "seen_at", 301, "definition ->> 'expression' LIKE '% 1 *'"
        )
        await age(db, "schedule_version", "deployed_at", 301)
        old._began -= 400
        assert await old.run_once() == 0
        assert "0 0 2 2 *" in (await schedule(db)).said

    async def test_a_tick_that_is_due_at_the_change_is_not_lost(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("0 0 1 1 *")
        await due_since(db, seconds=3)
        await deploy("0 0 2 2 *")
        assert await scheduler.run_once() == 1
        assert (await schedule(db)).next_tick.month == 2

    async def test_two_services_have_schedules_of_one_name(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("0 0 1 1 *", app="shop", arguments={"n": 1})
        await deploy("0 0 2 2 *", app="mail", arguments={"n": 2})
        await due_since(db, seconds=1)
        assert await scheduler.run_once() == 2
        assert {one.args for one in await rows(db)} == {'{"n":1}', '{"n":2}'}


async def beat(db: Database, app: str, *, old: bool) -> None:
    await db.execute_once(
        text(
            "INSERT INTO worker_process (id, app, queue, running, started_at) "
            "VALUES (gen_random_uuid(), :app, 'q', '{}', now() - make_interval(secs => :ago))"
        ),
        {"app": app, "ago": 301.0 if old else 299.0},
    )


class TestRemoved:
    async def test_a_schedule_that_live_workers_do_not_have_stops_and_begins_anew(
        self, db: Database, scheduler: Scheduler, deploy: Deploy, settings: Settings
    ) -> None:
        await deploy("* * * * * *", missed="all")
        await age(db, "schedule", "seen_at", 301)
        await beat(db, "worker", old=True)
        await due_since(db, seconds=3600)
        await Retirement(db, settings.retention).run_once()
        assert (await schedule(db)).removed_at is not None
        assert await scheduler.run_once() == 0
        await deploy("* * * * * *", missed="all")
        assert (await schedule(db)).removed_at is None
        assert await scheduler.run_once() <= 2  # nothing of the hour

    @pytest.mark.parametrize(("app", "old"), [("other", True), ("worker", False)])
    async def test_one_whose_workers_are_all_down_is_not_removed_but_missed(
        self, app: str, old: bool, db: Database, scheduler: Scheduler, deploy: Deploy,
        settings: Settings,
    ) -> None:  # fmt: skip
        await deploy("0 0 1 1 *")
        await age(db, "schedule", "seen_at", 301)
        await beat(db, app, old=old)
        await due_since(db, seconds=3600)
        await Retirement(db, settings.retention).run_once()
        assert await scheduler.run_once() == 0  # nobody could run its task
        await deploy("0 0 1 1 *")
        assert await scheduler.run_once() == 1

    async def test_its_waiting_ticks_are_run_by_nobody_any_more(
        self, db: Database, scheduler: Scheduler, deploy: Deploy, settings: Settings
    ) -> None:
        await deploy("* * * * * *", overlap="queue")
        await due_since(db, seconds=3)
        await scheduler.run_once()
        await age(db, "schedule", "seen_at", 301)
        await beat(db, "worker", old=True)
        await Retirement(db, settings.retention).run_once()
        fates = [one.fate for one in await rows(db, TICKS)]
        assert fates[0] == "fired"
        assert set(fates[1:]) == {"missed"}

    async def test_it_is_neither_run_nor_resumed(
        self, db: Database, client: TaskClient, deploy: Deploy
    ) -> None:
        await deploy()
        await age(db, "schedule", "seen_at", 301)
        for act in (client.schedules.run, client.schedules.resume):
            with pytest.raises(ScheduleNotFound, match="nightly was removed"):
                await act("nightly")

    async def test_what_was_removed_is_forgotten_after_the_retention(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy()
        await due_since(db, seconds=1)
        await scheduler.run_once()
        await age(db, "schedule", "seen_at", 5000)
        await age(db, "schedule_version", "seen_at", 5000)
        await db.execute_once(text("UPDATE schedule SET removed_at = seen_at"), {})
        await Retirement(db, 6000).run_once()
        assert (await schedule(db)).removed_at is not None
        await Retirement(db, 4000).run_once()
        left = text("SELECT app FROM schedule UNION ALL SELECT app FROM schedule_version "
                    "UNION ALL SELECT app FROM schedule_tick")  # fmt: skip
        assert await rows(db, left) == []

    async def test_old_ticks_are_forgotten_and_waiting_ones_are_not(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("* * * * * *", overlap="queue")
        await due_since(db, seconds=3)
        await scheduler.run_once()
        await age(db, "schedule_tick", "noted_at", 100)
        await Retirement(db, 99).run_once()
        assert {one.fate for one in await rows(db, TICKS)} == {"waiting"}


class TestOverlap:
    async def settle(self, db: Database, id_: UUID) -> None:
        await db.execute_once(
            text("UPDATE task SET state = 'succeeded', settled_at = now() WHERE id = :id"),
            {"id": id_},
        )

    async def test_allow_runs_them_side_by_side(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("* * * * * *", overlap="allow")
        await due_since(db, seconds=2)
        assert await scheduler.run_once() >= 3

    async def test_skip_leaves_a_tick_out_while_a_task_is_unsettled(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("* * * * * *", overlap="skip")
        await due_since(db, seconds=2)
        assert await scheduler.run_once() == 1
        ticks = await rows(db, TICKS)
        assert [one.fate for one in ticks][:3] == ["fired", "overlapped", "overlapped"]
        await self.settle(db, ticks[0].task_id)
        await due_since(db, seconds=-1)  # the one after the next
        await db.execute_once(text("UPDATE schedule SET next_tick = now()"), {})
        assert await scheduler.run_once() == 1

    async def test_queue_runs_every_tick_one_after_the_other_in_order(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("0 0 1 1 *", overlap="queue", missed="all")
        await db.execute_once(
            text(
                "UPDATE schedule SET next_tick = "
                "date_trunc('year', now(), 'UTC') - interval '2 years'"
            ),
            {},
        )
        assert await scheduler.run_once() == 1
        for year in (2024, 2025, 2026):
            made = (await rows(db))[-1]
            assert made.tick.year == year
            assert await scheduler.run_once() == 0
            await self.settle(db, made.id)
            await scheduler.run_once()
        assert [one.fate for one in await rows(db, TICKS)] == ["fired"] * 3

    async def test_a_new_tick_does_not_overtake_those_that_wait(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("* * * * * *", overlap="queue")
        await due_since(db, seconds=3)
        await scheduler.run_once()
        due = text("SELECT 1 FROM schedule WHERE next_tick <= now()")
        order = []
        for _ in range(4):
            (made,) = [one for one in await rows(db) if one.state == "queued"]
            order.append(made.tick)
            await self.settle(db, made.id)
            while not await rows(db, due):  # the next tick, while some wait
                await asyncio.sleep(0.02)
            await scheduler.run_once()
        assert order == sorted(order)
        assert {b - a for a, b in itertools.pairwise(order)} == {timedelta(seconds=1)}

    async def test_while_a_tick_waits_the_leader_looks_more_often(
        self, db: Database, scheduler: Scheduler, deploy: Deploy
    ) -> None:
        await deploy("0 0 1 1 *", overlap="queue")
        for _ in range(2):
            await due_since(db, seconds=1)
            await db.execute_once(text("UPDATE schedule_tick SET tick = tick - interval '1 h'"), {})
            await scheduler.run_once()
        assert scheduler.interval == WAITING_SECONDS
        await db.execute_once(text("UPDATE schedule SET paused_at = now()"), {})
        await scheduler.run_once()
        assert scheduler.interval == INTERVAL_SECONDS


async def test_the_last_task_of_a_schedule_outlives_its_retention(
    db: Database, scheduler: Scheduler, deploy: Deploy
) -> None:
    await deploy()
    await due_since(db, seconds=1)
    await scheduler.run_once()
    await db.execute_once(
        text(
            "UPDATE task SET state = 'failed', settled_at = now() - interval '1 day', "
            "expires_at = now() - interval '1 hour'"
        ),
        {},
    )
    from_start = (START.expires, START.after, 10)
    assert await pruning.expired(db, *from_start) == []
    await db.execute_once(text("UPDATE schedule SET last_task_id = NULL"), {})
    assert len(await pruning.expired(db, *from_start)) == 1


async def test_a_definition_that_is_not_understood_stops_no_other(
    db: Database, scheduler: Scheduler, deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    await deploy(name="newer")
    await db.execute_once(
        text('UPDATE schedule SET definition = definition || \'{"expression": "@dawn"}\''), {}
    )
    await deploy(name="nightly")
    await due_since(db, seconds=1)
    assert await scheduler.run_once() == 1
    assert "newer of worker is not understood here" in caplog.text
    assert await scheduler.run_once() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"jitter": ...},
        {"jitter": None},
        {"priority": 10},
        {"queue": ""},
        {"arguments": "[]"},
        {"arguments": '{"n": "\\u0000"}'},
    ],
    ids=str,
)
@pytest.mark.parametrize("overlap", ["allow", "queue"])
async def test_a_definition_of_which_no_task_can_be_made_stops_no_other(
    change: dict[str, object],
    overlap: str,
    db: Database,
    scheduler: Scheduler,
    deploy: Deploy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("before", "odd", "other"):
        await deploy(name=name, overlap=overlap)
    await due_since(db, seconds=1)
    if overlap == "queue":
        await db.execute_once(
            text("INSERT INTO schedule_tick (app, name, tick, fate) "
                 "SELECT app, name, next_tick, 'waiting' FROM schedule"),
            {},
        )  # fmt: skip
        await db.execute_once(text("UPDATE schedule SET next_tick = now() + interval '1 h'"), {})
    good = text("SELECT CAST(definition AS text) FROM schedule WHERE name = 'odd'")
    definition = json.loads((await db.execute_once(good, {})).scalar_one()) | change
    odd = {name: value for name, value in definition.items() if value is not ...}
    spoil = text("UPDATE schedule SET definition = CAST(:odd AS jsonb) WHERE name = 'odd'")
    await db.execute_once(spoil, {"odd": json.dumps(odd)})
    assert await scheduler.run_once() == 2
    assert await scheduler.run_once() == 0
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "odd of worker" in errors[0]
    assert "DETAIL" not in errors[0]
    if overlap == "queue":
        fates = [(tick.name, tick.fate) for tick in await db.execute_once(TICKS, {})]
        assert sorted(fates) == [("before", "fired"), ("odd", "missed"), ("other", "fired")]


async def test_people_see_the_other_schedules_and_pause_the_one_that_is_not_understood(
    db: Database, deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("odd", "other"):
        await deploy(name=name)
    await db.execute_once(
        text("UPDATE schedule SET definition = definition - 'jitter' WHERE name = 'odd'"), {}
    )
    schedules = Schedules(db, "worker")
    assert [view.name for view in await schedules.all()] == ["other"]
    assert "odd of worker is not understood here: its definition lacks jitter" in caplog.text
    for ask in (schedules.get, schedules.run, schedules.resume):
        with pytest.raises(InvalidSchedule, match="odd is not understood by this version.*jitter"):
            await ask("odd")
    await schedules.pause("odd")
    paused = await db.execute_once(text("SELECT name FROM schedule WHERE paused_at < now()"), {})
    assert list(paused.scalars()) == ["odd"]


async def test_a_pass_over_10_000_schedules_costs_nothing_when_nothing_is_due(
    db: Database, settings: Settings, scheduler: Scheduler
) -> None:
    registry = Registry()

    @task("many", registry=registry)
    async def many(ctx: TaskContext, n: int) -> None: ...

    for n in range(10_000):
        cron("0 0 1 1 *", name=f"{n:05}", arguments={"n": n})(many)
    registrar = Registrar(db, schedules_of(registry), settings)
    assert await registrar.run_once() == 10_000
    await scheduler.run_once()
    passes = []
    for _ in range(10):
        began = time.perf_counter()
        assert await scheduler.run_once() == 0
        passes.append(time.perf_counter() - began)
    idle = min(passes)
    assert idle < 0.1  # the fastest: whatever else runs here
    statement = clause(db, "find_due").text.replace(":limit", "100").replace(":uptime", "0")
    plan = await db.execute_once(text("EXPLAIN " + statement), {})
    assert "ix_schedule_next_tick" in "".join(row[0] for row in plan)
    for name in ("find_waiting", "until_next_tick"):  # no walk through all schedules
        statement = clause(db, name).text.replace(":limit", "100")
        plan = await db.execute_once(text("EXPLAIN ANALYZE " + statement), {})
        assert "rows=10000" not in "".join(row[0] for row in plan), name
    await db.execute_once(
        text("UPDATE schedule SET next_tick = date_trunc('second', now()) WHERE name < '01000'"), {}
    )
    began = time.perf_counter()
    assert await scheduler.run_once() == 1000
    each = (time.perf_counter() - began) / 1000
    print(f"a pass over 10,000: {idle * 1000:.1f} ms; each that is due: {each * 1000:.2f} ms")
