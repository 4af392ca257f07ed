"""What is told, of which attempts, and when: after the fact, under both engines."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.conftest import Drain, task_worker
from uow import (
    Backoff,
    Cancel,
    Database,
    Retry,
    Settings,
    Snooze,
    TaskClient,
    TaskContext,
    TaskHandle,
    cron,
    events,
    on,
    task,
)
from uow.attempt.rescue import take_back
from uow.attempt.solo import NotAlone, Solo
from uow.broker.redis import RedisClient
from uow.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    TaskEnqueued,
    TaskEvent,
    TaskSettled,
    TaskTakenBack,
    TickFired,
    TickMissed,
    WorkerStarted,
    WorkerStopped,
)
from uow.fast.group_commit import GroupCommit
from uow.fast.task_worker import TaskWorker
from uow.host import Process
from uow.schedules.cron import schedules_of
from uow.schedules.registrar import Registrar
from uow.schedules.scheduler import Scheduler
from uow.services.presence import Presence
from uow.services.redis_pulse import RedisPulse
from uow.tasks.registry import Registry

ALL = [getattr(events, name) for name in events.__all__]
KINDS: dict[str, Any] = {"atomic": {}, "separate": {"atomic": False}, "rowless": {"durable": False}}


@pytest.fixture
def told(registry: Registry) -> list[Any]:
    """Every event of the workers of this test, but those that an outage makes."""
    heard: list[Any] = []
    kinds = [one for one in ALL if issubclass(one, Event) and one not in (Event, TaskEvent)]
    on(*kinds, registry=registry)(heard.append)
    return heard


def of(told: list[Any], *kinds: type[Event]) -> list[Any]:
    return [event for event in told if type(event) in kinds]


async def ended_by(
    error: Exception | None, kind: str, client: TaskClient, registry: Registry, drain: Drain
) -> TaskHandle[Any]:
    tries = 2 if isinstance(error, Retry) else 1

    @task("ends", max_tries=tries, backoff=Backoff(base=0), registry=registry, **KINDS[kind])
    async def ends(ctx: TaskContext) -> None:
        if error is not None and ctx["task"].attempt == 1:
            raise error

    user: dict[str, Any] = {} if kind == "rowless" else {"user_id": 7}
    handle = await client.enqueue(ends.options(headers={"a": "b"}, **user))
    await drain()
    return handle


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "outcome", "state"),
    [
        (None, "completed", "succeeded"),
        (ValueError("no"), "failed", "failed"),
        (Cancel("no more"), "cancelled", "cancelled"),
        (Snooze(3600), "snoozed", None),
    ],
)
async def test_an_attempt_is_told_from_its_beginning_to_its_end(
    client: TaskClient, registry: Registry, drain: Drain, told: list[Any],
    kind: str, error: Exception | None, outcome: str, state: str | None,
) -> None:  # fmt: skip
    handle = await ended_by(error, kind, client, registry, drain)
    about = of(told, AttemptStarted, AttemptEnded, TaskSettled)
    kinds = [AttemptStarted, AttemptEnded] + [TaskSettled] * (state is not None)
    assert [type(event) for event in about] == kinds
    row, user = (None, None) if kind == "rowless" else (handle.id, "7")
    for event in about:
        assert (event.id, event.job_id, event.user_id) == (row, str(handle.id), user)
        assert (event.name, event.queue, event.headers) == ("ends", "arq:queue", {"a": "b"})
        assert event.attempt == 1
    ended = about[1]
    assert (ended.outcome, ended.tries) == (outcome, 0)
    assert ended.delay == (3600 if outcome == "snoozed" else None)
    assert (ended.error is None) == (outcome in ("completed", "snoozed"))
    assert 0 <= ended.waited < 30
    assert 0 <= ended.ran < 30
    if state is not None:
        assert about[2].state == state


@pytest.mark.parametrize("kind", KINDS)
async def test_a_retry_is_an_end_and_no_settling(
    client: TaskClient, registry: Registry, drain: Drain, told: list[Any], kind: str
) -> None:
    await ended_by(Retry(delay=0), kind, client, registry, drain)
    for _ in range(3):
        if of(told, TaskSettled):
            break
        await drain()
    ended = of(told, AttemptEnded)
    assert [(event.attempt, event.outcome) for event in ended] == [(1, "retry"), (2, "completed")]
    assert ended[0].delay == 0
    assert [event.state for event in of(told, TaskSettled)] == ["succeeded"]


async def test_a_task_that_others_settle_meanwhile_is_told_as_overtaken(
    client: TaskClient, registry: Registry, drain: Drain, told: list[Any], db: Database
) -> None:
    @task("slow", registry=registry)
    async def slow(ctx: TaskContext) -> None:
        statement = text("UPDATE task SET state = 'cancelled', settled_at = now() WHERE id = :id")
        await db.execute_once(statement, {"id": ctx["task"].id})

    await client.enqueue(slow)
    await drain()
    assert [event.outcome for event in of(told, AttemptEnded)] == ["overtaken"]
    assert of(told, TaskSettled) == []


async def test_one_whose_function_was_not_called_is_not_told_at_all(
    client: TaskClient, registry: Registry, drain: Drain, told: list[Any], db: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    @task("suspect", registry=registry)
    async def suspect(ctx: TaskContext) -> None: ...

    async def crowded(_: Solo, patience: float) -> None:
        raise NotAlone("its neighbours did not end")

    monkeypatch.setattr(Solo, "emptied", crowded)
    handle = await client.enqueue(suspect)
    await db.execute_once(text("UPDATE task SET deaths = 2"), {})
    await drain()
    assert await handle.status() == "queued"
    assert of(told, AttemptStarted, AttemptEnded, TaskSettled) == []


async def test_one_whose_completion_could_not_be_written_until_the_end_is_told_as_handed_back(
    client: TaskClient, settings: Settings, registry: Registry, told: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tried = asyncio.Event()

    async def fail(_: GroupCommit, batch: object) -> set[UUID]:
        tried.set()
        raise OSError("Postgres is away")

    async def is_everybodys(_: GroupCommit, error: Exception) -> bool:
        return True

    @task("lost", registry=registry)
    async def lost(ctx: TaskContext) -> None: ...

    monkeypatch.setattr(GroupCommit, "_write", fail)
    monkeypatch.setattr(GroupCommit, "_is_everybodys", is_everybodys)
    await client.enqueue(lost)
    _, worker = task_worker(TaskWorker, settings, registry, burst=False)
    serving = asyncio.ensure_future(worker.async_run())
    async with asyncio.timeout(10):
        await tried.wait()
    await worker.close()
    await asyncio.wait([serving])
    ends = of(told, AttemptStarted, AttemptEnded, TaskSettled, WorkerStopped)
    assert [type(event) for event in ends] == [AttemptStarted, AttemptEnded, WorkerStopped]
    assert ends[1].outcome == "handed back"


async def test_a_blocked_loop_is_not_even_an_event_if_nobody_listens(
    registry: Registry, drain: Drain, processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    @task("any", registry=registry)
    async def any_task(ctx: TaskContext) -> None: ...

    made: list[dict[str, Any]] = []
    monkeypatch.setattr("uow.services.vitals.LoopBlocked", lambda **fields: made.append(fields))
    await drain()
    on_blocked = processes[-1].services.vitals.heart.on_blocked
    assert on_blocked is not None
    on_blocked(2.0, "somebody")
    assert made == []


async def test_a_worker_is_told_from_its_start_to_its_stop(
    client: TaskClient, registry: Registry, drain: Drain, told: list[Any]
) -> None:
    await ended_by(None, "atomic", client, registry, drain)
    first, last = told[0], told[-1]
    assert isinstance(first, WorkerStarted)
    assert (first.queues, first.concurrency) == (("arq:queue",), 5)
    assert isinstance(last, WorkerStopped)
    assert first.worker == last.worker == of(told, AttemptStarted)[0].worker


async def test_a_batch_is_told_as_a_batch(
    client: TaskClient, settings: Settings, registry: Registry
) -> None:
    batches: list[int] = []
    registry.events.listen_to_batches(lambda ended: batches.append(len(ended)), AttemptEnded)
    together = asyncio.Barrier(5)

    @task("together", registry=registry)
    async def meet(ctx: TaskContext) -> None:
        await together.wait()

    await client.enqueue_many(meet, [{}] * 5)
    _, worker = task_worker(TaskWorker, settings, registry)
    await worker.async_run()
    await worker.close()
    assert batches == [5]


@pytest.mark.parametrize("broken", [True, False])
async def test_a_listener_that_fails_changes_nothing(
    client: TaskClient, registry: Registry, drain: Drain, broken: bool
) -> None:
    @on(AttemptStarted, AttemptEnded, TaskSettled, WorkerStarted, registry=registry)
    def listen(event: Event) -> None:
        if broken:
            raise SystemExit("broken")

    handle = await ended_by(None, "atomic", client, registry, drain)
    assert await handle.status() == "succeeded"


class TestEnqueued:
    @pytest.fixture
    async def telling(
        self, db: Database, redis: RedisClient, settings: Settings, registry: Registry
    ) -> TaskClient:
        return TaskClient(db, redis, settings, registry.events)  # type: ignore[arg-type]

    async def test_it_is_told_after_the_outermost_commit_and_not_after_a_rollback(
        self, telling: TaskClient, db: Database, registry: Registry, told: list[Any]
    ) -> None:
        @task("any", registry=registry)
        async def any_task(ctx: TaskContext) -> None: ...

        async with telling:
            with pytest.raises(ValueError, match="undone"):
                async with db.get_session() as session:
                    await any_task.enqueue(session)
                    raise ValueError("undone")
            async with db.get_session() as session:
                handle = await any_task.options(user_id=7, delay=30).enqueue(session)
                async with session.begin_nested():
                    inner = await any_task.enqueue(session)
                savepoint = await session.begin_nested()
                await any_task.enqueue(session)
                await savepoint.rollback()
                assert told == []
        assert [event.id for event in told][:1] == [handle.id]
        assert inner.id not in {event.id for event in told}  # left to the relay, as its push is
        first = told[0]
        assert isinstance(first, TaskEnqueued)
        assert (first.name, first.user_id, first.delay) == ("any", "7", 30)

    @pytest.mark.parametrize("durable", [True, False])
    async def test_a_client_tells_of_each(
        self, telling: TaskClient, registry: Registry, told: list[Any], durable: bool
    ) -> None:
        @task("any", durable=durable, registry=registry)
        async def any_task(ctx: TaskContext, n: int) -> None: ...

        run_at = datetime.now(UTC) + timedelta(hours=1)
        async with telling:
            await telling.enqueue_many(any_task, [{"n": 1}, {"n": 2}])
            await telling.enqueue(any_task.options(run_at=run_at), n=3)
        assert [type(event) for event in told] == [TaskEnqueued] * 3
        assert [round(event.delay, -1) for event in told] == [0, 0, 3600]
        assert [event.id is None for event in told] == [not durable] * 3

    async def test_a_unique_key_that_is_taken_enqueues_nothing(
        self, telling: TaskClient, registry: Registry, told: list[Any]
    ) -> None:
        @task("any", registry=registry)
        async def any_task(ctx: TaskContext) -> None: ...

        async with telling:
            for _ in range(2):
                await telling.enqueue(any_task.options(unique_key="k"))
        assert len(told) == 1

    async def test_a_cancelled_task_is_told_as_settled(
        self, telling: TaskClient, registry: Registry, told: list[Any]
    ) -> None:
        @task("any", registry=registry)
        async def any_task(ctx: TaskContext) -> None: ...

        async with telling:
            handle = await telling.enqueue(any_task.options(user_id=7))
            assert await telling.cancel(handle.id)
            assert not await telling.cancel(handle.id)
        (settled,) = of(told, TaskSettled)
        assert (settled.id, settled.state, settled.user_id) == (handle.id, "cancelled", "7")


PUT_LEFT_BEHIND = text(
    """
    INSERT INTO task (id, name, state, attempt, started_at, worker, deaths, alone)
    VALUES (:id, 'left', 'running', 1, now(), 'dead', :deaths, :alone)
    """
)


@pytest.mark.parametrize("quarantined", [False, True])
async def test_what_a_dead_process_has_left_is_told(
    db: Database, settings: Settings, registry: Registry, told: list[Any], quarantined: bool
) -> None:
    dead = Presence(db, "dead", settings, running=list)
    await dead.run_once()
    await db.execute_once(
        text("UPDATE worker_process SET heartbeat_at = now() - interval '1 hour'"), {}
    )
    left = {"id": uuid4(), "deaths": 4 if quarantined else 0, "alone": quarantined}
    await db.execute_once(PUT_LEFT_BEHIND, left)
    await take_back(db, settings, events=registry.events)
    (taken,) = of(told, TaskTakenBack)
    assert (taken.id, taken.queue, taken.quarantined) == (left["id"], "arq:queue", quarantined)
    assert [event.state for event in of(told, TaskSettled)] == ["failed"] * quarantined


@pytest.mark.parametrize(
    ("expression", "behind"), [("* * * * * *", "1 second"), ("* * * * *", "3 hours")]
)
async def test_ticks_are_told_by_who_leads(
    settings: Settings, registry: Registry, db: Database, told: list[Any],
    expression: str, behind: str,
) -> None:  # fmt: skip
    @cron(expression, missed="skip")
    @task("report", registry=registry)
    async def report(ctx: TaskContext) -> None: ...

    await Registrar(db, schedules_of(registry), settings).run_once()
    await db.execute_once(text(f"UPDATE schedule SET next_tick = now() - interval '{behind}'"), {})
    scheduler = Scheduler(db, wake_relay=lambda: None, events=registry.events)
    scheduler._began -= 60
    await scheduler.run_once()
    fired, missed = of(told, TickFired), of(told, TickMissed)
    assert {(one.app, one.schedule) for one in (*fired, *missed)} == {(settings.app, "report")}
    if behind == "1 second":
        assert isinstance(fired[0].task_id, UUID)
        assert 0 <= fired[0].late < 60
        assert missed == []
    else:
        assert missed[0].last - missed[0].first > timedelta(hours=1)


class Gone:
    """A Redis that is away, then there."""

    def __init__(self) -> None:
        self.is_away = True

    async def ping(self) -> None:
        if self.is_away:
            raise ConnectionRefusedError("away")


async def test_a_server_that_is_away_is_told_once_and_that_it_is_back() -> None:
    told: list[Any] = []
    gone = Gone()
    pulse = RedisPulse(gone, told.append)  # type: ignore[arg-type]
    await pulse.run_once()
    await pulse.run_once()
    gone.is_away = False
    await pulse.run_once()
    await pulse.run_once()
    assert [(type(event).__name__, event.server) for event in told] == [
        ("ServerAway", "redis"), ("ServerBack", "redis"),
    ]  # fmt: skip


async def test_a_postgres_that_is_away_is_told_by_the_heartbeat(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    presence = Presence(db, "me", settings, running=list, tell=told.append)
    beat: Callable[..., Any] = presence._beat

    async def refused(_: object) -> None:
        raise ConnectionRefusedError("away")

    monkeypatch.setattr(presence, "_beat", refused)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            await presence.run_once()
    monkeypatch.setattr(presence, "_beat", beat)
    for _ in range(2):
        await presence.run_once()
    assert [(type(event).__name__, event.server) for event in told] == [
        ("ServerAway", "postgres"), ("ServerBack", "postgres"),
    ]  # fmt: skip
