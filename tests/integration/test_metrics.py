"""What a worker shows of itself: under both engines, from its own tables and servers."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.samples import Sample
from sqlalchemy import text

import uow
from tests.conftest import Drain, task_worker
from uow import (
    Database,
    Settings,
    SettingsError,
    SyncTaskContext,
    TaskClient,
    TaskContext,
    TaskFailed,
    WorkerError,
    task,
)
from uow.attempt.notes import EndedAlike, Notes
from uow.attempt.telling import EndedAttempt
from uow.clock import utcnow
from uow.db.backlog import LOOKED_AT, backlog
from uow.db.statement import TEMPLATES, Statement
from uow.db.transaction import Transaction
from uow.events import ServerAway, TickMissed
from uow.fast.task_worker import TaskWorker
from uow.metrics import metrics as module
from uow.metrics.backlog import BacklogWatch
from uow.metrics.families import text_of
from uow.metrics.metrics import Metrics, of_this_process
from uow.process import exposition
from uow.process.supervisor import supervise
from uow.tasks.registry import Registry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

Scrape = Callable[..., list[Sample]]


@pytest.fixture(autouse=True)
def _nobody_has_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Here, "metrics", None)
    monkeypatch.setattr(module._Here, "unobserved", 0)


@pytest.fixture
def metrics() -> Metrics:
    """Those of this process, which somebody wants."""
    return of_this_process()


@pytest.fixture
def scraped(metrics: Metrics) -> Scrape:
    """The samples of that name which have these labels."""

    def samples(name: str, **labels: str) -> list[Sample]:
        read: Any = parser.text_string_to_metric_families
        families = read(text_of(metrics, openmetrics=True).decode())
        return [
            one for family in families for one in family.samples
            if one.name == name and labels.items() <= one.labels.items()
        ]  # fmt: skip

    return samples


async def test_attempts_are_counted_by_how_they_end_and_timed(
    drain: Drain, registry: Registry, client: TaskClient, scraped: Scrape
) -> None:
    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None: ...

    @task("cards.charge", registry=registry, max_tries=1)
    async def charge(ctx: TaskContext) -> None:
        raise RuntimeError("declined")

    @task("pings.send", registry=registry, durable=False)
    async def ping(ctx: TaskContext) -> None: ...

    trace = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    for _ in range(3):
        await client.enqueue(send.options(headers=trace))
    await client.enqueue(charge)
    await client.enqueue(ping)
    await drain()
    counted = {
        (one.labels["task"], one.labels["queue"], one.labels["outcome"]): one.value
        for one in scraped("worker_tasks_total")
        if one.value
    }
    assert counted == {
        ("mails.send", "arq:queue", "completed"): 3,
        ("cards.charge", "arq:queue", "failed"): 1,
        ("pings.send", "arq:queue", "completed"): 1,
    }
    for name in ("worker_task_duration_seconds", "worker_task_wait_seconds"):
        (count,) = scraped(f"{name}_count", task="mails.send")
        assert count.value == 3
        buckets = scraped(f"{name}_bucket", task="mails.send")
        assert [one.value for one in buckets if one.exemplar][-1:] == [3]
        assert {one.exemplar.labels["trace_id"] for one in buckets if one.exemplar} == {TRACE}


async def test_what_runs_what_waits_and_since_when(
    registry: Registry, settings: Settings, client: TaskClient, db: Database, scraped: Scrape
) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    @task("reports.make", registry=registry)
    async def make(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(text("SELECT 1"))
            started.set()
            await release.wait()

    await client.enqueue(make)
    await client.enqueue(make.options(delay=3600))
    await client.enqueue(make.options(queue="elsewhere"))
    process, worker = task_worker(TaskWorker, settings, registry, burst=False)
    running = asyncio.create_task(worker.async_run())
    await started.wait()
    watch = next(d for d in process.services.leader._duties if isinstance(d, BacklogWatch))
    await watch.run_once()
    slots = {one.labels["state"]: one.value for one in scraped("worker_slots")}
    assert slots == {"busy": 1, "free": settings.concurrency - 1}
    (busy,) = scraped("worker_pool_connections", state="busy")
    assert busy.value >= 1
    tasks = {
        (one.labels["queue"], one.labels["state"]): one.value for one in scraped("worker_tasks")
    }
    assert tasks["arq:queue", "running"] == 1
    assert tasks["arq:queue", "scheduled"] == 1
    assert tasks["arq:queue", "retrying"] == 0
    assert tasks["elsewhere", "queued"] == 1
    (oldest,) = scraped("worker_oldest_waiting_timestamp_seconds")
    assert oldest.labels == {"queue": "elsewhere"}
    assert 0 <= time.time() - oldest.value < 30
    (lag,) = scraped("worker_relay_lag_seconds")
    assert lag.value < 5
    (loop,) = scraped("worker_loop_lag_seconds")
    assert loop.value < 5
    assert {one.labels["server"]: one.value for one in scraped("worker_server_up")} == {
        "postgres": 1, "redis": 1,
    }  # fmt: skip
    release.set()
    running.cancel()
    await asyncio.wait([running])
    await worker.close()
    assert scraped("worker_slots") == []  # and nobody else is shown
    assert scraped("worker_tasks") == []


async def test_a_thread_that_goes_on_without_its_attempt_keeps_its_slot_busy(
    registry: Registry, settings: Settings, client: TaskClient, scraped: Scrape
) -> None:
    release = threading.Event()

    @task("reports.make", registry=registry, timeout=0.2, max_tries=1)
    def make(ctx: SyncTaskContext) -> None:
        release.wait(30)

    handle = await client.enqueue(make)
    _, worker = task_worker(TaskWorker, settings, registry, burst=False)
    running = asyncio.create_task(worker.async_run())
    with pytest.raises(TaskFailed):
        await handle.result(timeout=20)
    (busy,) = scraped("worker_slots", state="busy")
    release.set()
    running.cancel()
    await asyncio.wait([running])
    await worker.close()
    assert busy.value == 1


async def test_the_relay_is_late_by_the_row_that_it_has_not_looked_at(db: Database) -> None:
    await insert(db, 1, "dispatch_at", "now() - interval '90 seconds'")
    (found,) = await backlog(db, limit=5)
    assert found.unlooked == pytest.approx(90, abs=20)


async def test_a_look_at_the_backlog_is_bounded_and_what_is_due_next_year_hides_nothing(
    db: Database,
) -> None:
    await insert(db, LOOKED_AT + 100, "dispatch_at", "now() + interval '1 year'", "scheduled")
    await insert(db, LOOKED_AT + 100, "dispatch_at", "'infinity'")
    found = {one.state: one for one in await backlog(db, limit=30)}
    assert found["scheduled"].tasks == LOOKED_AT
    assert found["queued"].tasks == LOOKED_AT
    assert found["queued"].oldest_due is not None
    assert found["scheduled"].oldest_due is None


async def test_no_plan_of_the_look_is_made_without_being_told_to_go_by_the_index(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {template: name for name, template in TEMPLATES.items()}
    run: list[str] = []
    execute = Transaction.execute_once

    async def noted(self: Transaction, statement: Statement) -> Any:
        run.append(names[statement.template])
        return await execute(self, statement)

    monkeypatch.setattr(Transaction, "execute_once", noted)
    await backlog(db, limit=5)
    assert run == ["by_index", "backlog"]


async def insert(db: Database, tasks: int, column: str, value: str, state: str = "queued") -> None:
    run_at = value if state == "scheduled" else "now() - interval '1 minute'"
    await db.execute_once(
        text(
            f"INSERT INTO task (name, args, queue, state, run_at, {column})"
            f" SELECT 'mails.send', '{{}}', 'arq:queue', '{state}', {run_at}, {value}"
            " FROM generate_series(1, :tasks)"
        ),
        {"tasks": tasks},
    )


async def test_a_postgres_that_fails_hides_nothing_for_a_minute_and_then_all(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = BacklogWatch(db)
    await watch.run_once()
    assert watch.waiting is not None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert watch.waiting is None


async def test_who_leads_no_more_says_nothing_of_the_fleet(db: Database) -> None:
    watch = BacklogWatch(db)
    await watch.run_once()
    await watch.stop()
    assert watch.waiting is None


async def test_what_the_leader_has_missed_is_counted_by_schedule(
    registry: Registry, metrics: Metrics, scraped: Scrape
) -> None:
    events = registry.events.copy()
    with metrics.listening(events, Notes(events, registry.__contains__)):
        for now in (utcnow(), utcnow()):
            events.emit(TickMissed(app="a", schedule="nightly", first=now, last=now))
    (missed,) = scraped("worker_schedule_missed_total")
    assert (missed.labels, missed.value) == ({"schedule": "nightly"}, 2)


async def test_what_build_runs_is_shown_also_where_no_worker_does(scraped: Scrape) -> None:
    (info,) = scraped("worker_build_info")
    assert info.value == 1
    assert info.labels.keys() == {"version", "python"}
    assert scraped("worker_server_up") == []


# -- who asks --------------------------------------------------------------------------------------


async def test_the_app_answers_under_anybodys_server(
    drain: Drain, registry: Registry, client: TaskClient
) -> None:
    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None: ...

    app: Any = uow.metrics_app()
    await client.enqueue(send)
    await drain()
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as http:
        plain = await http.get("/")
        full = await http.get("/", headers={"Accept": "application/openmetrics-text"})
        refused = await http.post("/")
        head = await http.head("/")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'worker_tasks_total{outcome="completed",queue="arq:queue",task="mails.send"} 1.0' in (
        plain.text
    )
    assert full.text.endswith("# EOF\n")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (head.status_code, head.content) == (200, b"")


async def test_nothing_is_counted_and_nobody_asked_where_nobody_wants_it(
    drain: Drain, registry: Registry, client: TaskClient, processes: list[Any]
) -> None:
    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None: ...

    await client.enqueue(send)
    await drain()
    events = processes[-1].events
    assert len(events._heard[EndedAttempt]) == 1  # notes, which are always there
    assert len(events._heard[EndedAlike]) == 1  # the rollup's
    assert not events.wants(ServerAway)
    assert not any(isinstance(d, BacklogWatch) for d in processes[-1].services.leader._duties)


async def test_who_asks_when_a_worker_runs_already_is_told_that_it_is_too_late(
    drain: Drain, registry: Registry, client: TaskClient
) -> None:
    said: list[str] = []

    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None:
        with pytest.raises(WorkerError) as error:
            uow.metrics_app()
        said.append(str(error.value))

    await client.enqueue(send)
    await drain()
    assert "call it before" in said[0]
    uow.metrics_app()  # it has ended, and the next one is counted


def test_a_port_without_the_library_is_refused_in_one_line(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None: ...

    monkeypatch.setattr(exposition, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'uow-worker\[metrics\]'"):
        task_worker(TaskWorker, settings.model_copy(update={"metrics_port": 0}), registry)
    with pytest.raises(SettingsError, match=r"pip install 'uow-worker\[metrics\]'"):
        supervise(settings.model_copy(update={"metrics_port": 0}), 2)
