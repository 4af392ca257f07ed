"""Spans of who enqueues and of attempts, in one trace where they belong to one."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import text

from tests.conftest import Drain
from tests.ticks import fire
from tests.tracing import (
    Traces,
    id_of,
    links_of,
    parent_of,
    said_by,
    trace_of,
    traced,
)
from uow import (
    Backoff,
    CallNext,
    Cancel,
    Database,
    Retry,
    Settings,
    Snooze,
    TaskClient,
    TaskContext,
    TaskState,
    cron,
    middleware,
    task,
)
from uow.attempt.settle import AttemptRow
from uow.attempt.telling import EndedAttempt, StartedAttempt
from uow.contrib.otel import instrument
from uow.events import WorkerStopped
from uow.tasks.outcome import Completed
from uow.tasks.registry import Registry

KINDS: dict[str, Any] = {"atomic": {}, "separate": {"atomic": False}, "rowless": {"durable": False}}

QUEUE = "arq:queue"

KNOWN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def traces(registry: Registry) -> Iterator[Traces]:
    with traced(registry) as traces:
        yield traces


@pytest.fixture
def sql(db: Database, traces: Traces) -> Iterator[None]:
    """Statements of the test's engines have spans, too."""
    instrumentor = SQLAlchemyInstrumentor()
    # Its declared range ends before SQLAlchemy 2.1, with which it works.
    instrumentor.instrument(tracer_provider=traces.provider, skip_dep_check=True)
    yield
    instrumentor.uninstrument()


def no_op(registry: Registry, **options: Any) -> Any:
    @task("orders.confirm", registry=registry, **options)
    async def confirm(ctx: TaskContext, order_id: int) -> None: ...

    return confirm


@pytest.mark.parametrize("kind", KINDS)
async def test_an_attempt_is_a_child_of_who_has_asked_for_it(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces, kind: str
) -> None:
    confirm = no_op(registry, **KINDS[kind])
    with traces.tracer.start_as_current_span("POST /orders") as request:
        handle = await client.enqueue(confirm, 1)
    await drain()
    send, process = traces.all()[1:]
    assert (send.name, send.kind) == (f"send {QUEUE}", SpanKind.PRODUCER)
    assert (process.name, process.kind) == (f"process {QUEUE}", SpanKind.CONSUMER)
    assert parent_of(send) == request.get_span_context().span_id
    assert parent_of(process) == id_of(send)
    assert len({trace_of(span) for span in traces.all()}) == 1
    common = {
        "messaging.system": "uow_worker",
        "messaging.destination.name": QUEUE,
        "messaging.message.id": str(handle.id),
        "uow_worker.task.name": "orders.confirm",
    }
    assert said_by(send) == common | {
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    worker = said_by(process)["messaging.client.id"]
    assert said_by(process) == common | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.client.id": worker,
        "uow_worker.task.attempt": 1,
        "uow_worker.task.tries": 0,
        "uow_worker.task.outcome": "completed",
    }


async def test_every_way_to_enqueue_has_its_span(
    db: Database, client: TaskClient, registry: Registry, traces: Traces
) -> None:
    confirm, rowless = no_op(registry), no_op(Registry(), durable=False)
    async with db.get_session() as session:
        await confirm.enqueue(session, 1)
    async with db.engine.begin() as connection:
        await confirm.enqueue(connection, 2)
    await client.enqueue(confirm, 3)
    await client.enqueue_many(rowless, [{"order_id": 4}])
    many = [{"order_id": number} for number in range(3)]
    await client.enqueue_many(confirm, many)
    await client.enqueue_many(rowless, many)
    singles, batches = traces.all()[:4], traces.all()[4:]
    assert all("messaging.message.id" in said_by(span) for span in singles)
    assert [said_by(span).get("messaging.batch.message_count") for span in batches] == [3, 3]
    assert not any("messaging.message.id" in said_by(span) for span in batches)
    rows = await db.execute_once(text("SELECT CAST(headers AS text) FROM task"), {})
    assert all("traceparent" in headers for headers in rows.scalars())


async def test_of_a_unique_key_that_is_taken_the_span_names_who_has_it(
    db: Database, client: TaskClient, registry: Registry, traces: Traces
) -> None:
    confirm = no_op(registry).options(unique_key="one")
    handles = [await client.enqueue(confirm, 1) for _ in range(2)]
    ids = [said_by(span)["messaging.message.id"] for span in traces.all("send")]
    assert ids == [str(handles[0].id)] * 2


async def test_a_send_that_fails_says_so_without_the_arguments(
    db: Database, client: TaskClient, registry: Registry, traces: Traces
) -> None:
    await db.execute_once(text("ALTER TABLE task ADD CHECK (name <> 'orders.confirm')"), {})
    with pytest.raises(Exception, match="orders.confirm"):
        await client.enqueue(no_op(registry), 31415)
    send = traces.one("send")
    assert send.status.status_code is StatusCode.ERROR
    assert str(said_by(send)["error.type"]).endswith("CheckViolationError")
    assert "31415" not in send.to_json()
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize("kind", KINDS)
async def test_all_that_an_attempt_does_is_in_its_trace(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces, kind: str
) -> None:
    def begin(what: str) -> Any:
        return traces.tracer.start_as_current_span(what)

    @middleware(registry=registry)
    async def around(ctx: TaskContext, call_next: CallNext) -> object:
        if ctx["task"].name != "outer":
            return await call_next()
        with begin("middleware"):
            return await call_next()

    @task("inner", registry=registry)
    async def inner(ctx: TaskContext) -> None: ...

    @task("outer", registry=registry, **KINDS[kind])
    async def outer(ctx: TaskContext) -> None:
        def committed() -> None:
            with begin("on commit"):
                pass

        ctx["task"].on_commit(committed)
        with begin("function"):
            await asyncio.sleep(0)
        await client.enqueue(inner)

    await client.enqueue(outer)
    await drain()
    names = [span.name for span in traces.all()]
    assert len({trace_of(span) for span in traces.all()}) == 1, names
    by_name = {span.name: span for span in traces.all()}
    outers, inners = traces.all("process")
    assert parent_of(by_name["middleware"]) == id_of(outers)
    assert parent_of(by_name["function"]) == id_of(by_name["middleware"])
    assert parent_of(by_name["on commit"]) == id_of(outers)
    assert parent_of(inners) == id_of(traces.all("send")[1])


async def test_the_sql_of_a_request_and_of_its_task_are_in_one_trace(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, traces: Traces, sql: None
) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})

    @task("writes", registry=registry)
    async def writes(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(text("INSERT INTO effect VALUES ('once')"))

    async with Database(db.engine.url.render_as_string(hide_password=False)) as theirs:
        with traces.tracer.start_as_current_span("POST /orders") as request:
            async with theirs.get_session() as session:
                await writes.enqueue(session)
    await drain()
    send, process = traces.one("send"), traces.one("process")
    inserts = {parent_of(span): span for span in traces.all("INSERT")}
    assert set(inserts) == {id_of(send), id_of(process)}
    assert {trace_of(span) for span in (send, process, *inserts.values())} == {
        request.get_span_context().trace_id
    }
    assert process.end_time is not None
    assert (inserts[id_of(process)].end_time or 0) <= process.end_time


@pytest.mark.parametrize("kind", KINDS)
async def test_a_retry_begins_a_trace_that_is_linked_with_who_has_asked(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces, kind: str
) -> None:
    @task("flaky", max_tries=2, backoff=Backoff(base=0), registry=registry, **KINDS[kind])
    async def flaky(ctx: TaskContext, secret: str) -> None:
        if ctx["task"].attempt == 1:
            raise ValueError("not yet")

    await client.enqueue(flaky, "31415")
    for _ in range(2):
        await drain()
    send = traces.one("send")
    first, second = traces.all("process")
    assert (trace_of(first), parent_of(first), links_of(first)) == (
        trace_of(send), id_of(send), [],
    )  # fmt: skip
    assert trace_of(second) != trace_of(send)
    assert (parent_of(second), links_of(second)) == (None, [id_of(send)])
    outcomes = [said_by(span)["uow_worker.task.outcome"] for span in (first, second)]
    assert outcomes == ["retry", "completed"]
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.UNSET
    exception, retry = first.events
    assert said_by(first)["error.type"] == "ValueError"
    assert dict(exception.attributes or {})["exception.message"] == "not yet"
    assert "in flaky" in str(dict(exception.attributes or {})["exception.stacktrace"])
    assert retry.name == "uow_worker.retry"
    assert "31415" not in first.to_json()


async def test_a_task_that_was_asked_for_long_ago_is_linked(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, traces: Traces
) -> None:
    confirm = no_op(registry)
    await client.enqueue(confirm.options(delay=timedelta(hours=1)), 1)
    # As if it had been: its id says when it was asked for, and its row when it is due.
    long_ago = UUID(int=(UUID(int=uuid4().int).int & ((1 << 80) - 1)) | 0x018000000000 << 80)
    as_seven = str(long_ago)[:14] + "7" + str(long_ago)[15:]
    await db.execute_once(
        text("UPDATE task SET id = :id, run_at = now(), dispatch_at = now()"), {"id": as_seven}
    )
    await drain()
    send, process = traces.one("send"), traces.one("process")
    assert (parent_of(process), links_of(process)) == (None, [id_of(send)])


async def test_a_tick_begins_a_trace(
    db: Database, settings: Settings, client: TaskClient, registry: Registry, drain: Drain,
    traces: Traces,
) -> None:  # fmt: skip
    @cron("0 0 1 1 *")
    @task("tidy", registry=registry)
    async def tidy(ctx: TaskContext) -> None:
        assert ctx["task"].schedule == "tidy"
        await client.enqueue(follow_up)

    @task("follow.up", registry=registry)
    async def follow_up(ctx: TaskContext) -> None:
        assert ctx["task"].schedule is None

    await fire(db, settings, registry)
    await drain()
    tick = traces.all("process")[0]
    assert (parent_of(tick), links_of(tick)) == (None, [])
    assert said_by(tick)["uow_worker.schedule.name"] == "tidy"
    await drain()
    followed = next(
        span for span in traces.all("process")
        if said_by(span)["uow_worker.task.name"] == "follow.up"
    )  # fmt: skip
    assert trace_of(followed) == trace_of(tick)
    assert "uow_worker.schedule.name" not in said_by(followed)


@pytest.mark.parametrize(
    ("raised", "outcome", "event", "status"),
    [
        (Snooze(3600), "snoozed", ["uow_worker.snooze"], StatusCode.UNSET),
        (Cancel("nothing to do"), "cancelled", [], StatusCode.UNSET),
        (Retry(3600, reason="busy"), "retry", ["exception", "uow_worker.retry"], StatusCode.ERROR),
        (ValueError("no"), "failed", ["exception"], StatusCode.ERROR),
    ],
)
@pytest.mark.parametrize("kind", ["atomic", "rowless"])
async def test_a_span_says_how_its_attempt_has_ended(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces,
    kind: str, raised: Exception, outcome: str, event: list[str], status: StatusCode,
) -> None:  # fmt: skip
    tries = 1 if isinstance(raised, ValueError) else 2

    @task("ends", max_tries=tries, registry=registry, **KINDS[kind])
    async def ends(ctx: TaskContext) -> None:
        raise raised

    await client.enqueue(ends)
    await drain()
    process = traces.one("process")
    assert said_by(process)["uow_worker.task.outcome"] == outcome
    assert [one.name for one in process.events] == event
    assert process.status.status_code is status


async def test_an_attempt_that_is_interrupted_is_handed_back(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces, interrupt_all: Any
) -> None:
    @task("interrupted", registry=registry)
    async def interrupted(ctx: TaskContext) -> None:
        if ctx["task"].attempt == 1:
            interrupt_all()
            await asyncio.Event().wait()

    handle = await client.enqueue(interrupted)
    for _ in range(3):
        await drain()
    await handle.result(5)
    first, second = traces.all("process")
    assert [one.name for one in first.events] == ["uow_worker.hand_back"]
    assert links_of(second) == [id_of(traces.one("send"))]


async def test_a_span_ends_when_what_became_of_its_attempt_could_not_be_written(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    times = 0

    async def fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            raise OSError("Postgres is away")
        return await settle(*args, **kwargs)

    settle = AttemptRow.settle
    monkeypatch.setattr(AttemptRow, "settle", fails)

    @task("writes", registry=registry)
    async def writes(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(text("SELECT 1"))

    handle = await client.enqueue(writes)
    await drain()
    assert await handle.status() is TaskState.RUNNING
    assert said_by(traces.one("process"))["uow_worker.task.outcome"] == "handed back"


@pytest.mark.parametrize(
    "header",
    [
        "nonsense", "", "00-0-0-00", KNOWN + "-more", KNOWN.replace("00-", "ff-", 1), "x" * 4000,
        "00-" + "0" * 32 + "-b7ad6b7169203331-01", "\x1f", "é" * 100,
    ],
)  # fmt: skip
async def test_a_traceparent_that_is_none_is_as_good_as_none(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces, header: str
) -> None:
    handle = await client.enqueue(no_op(registry).options(headers={"traceparent": header}), 1)
    await drain()
    assert await handle.result(5) is None
    process = traces.one("process")
    assert (parent_of(process), links_of(process)) == (None, [])


async def test_a_trace_context_that_is_given_is_the_one_that_travels(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces
) -> None:
    given = {"traceparent": KNOWN, "tracestate": "vendor=1"}
    await client.enqueue(no_op(registry).options(headers=given), 1)
    await drain()
    process = traces.one("process")
    assert format(trace_of(process), "032x") == KNOWN[3:35]
    context = process.get_span_context()
    assert context is not None
    assert context.trace_state.to_header() == "vendor=1"


async def test_a_task_whose_headers_leave_no_room_is_enqueued_without_its_trace(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces
) -> None:
    full = {"much": "x" * 4070}
    handle = await client.enqueue(no_op(registry).options(headers=full), 1)
    await drain()
    assert await handle.result(5) is None
    assert parent_of(traces.one("process")) is None


class Broken(SpanProcessor):
    """Somebody's SDK with a fault."""

    def __init__(self, *where: str) -> None:
        self.where = where

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        if "start" in self.where:
            raise RuntimeError("no span begins")

    def on_end(self, span: ReadableSpan) -> None:
        if "end" in self.where:
            raise RuntimeError("no span ends")


@pytest.mark.parametrize("where", [["start"], ["end"]])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_sdk_that_raises_is_logged_once_and_changes_nothing(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces,
    caplog: pytest.LogCaptureFixture, kind: str, where: Sequence[str],
) -> None:  # fmt: skip
    traces.provider.add_span_processor(Broken(*where))
    confirm = no_op(registry, **KINDS[kind])
    with caplog.at_level(logging.ERROR):
        handles = [await client.enqueue(confirm, number) for number in range(3)]
        await drain()
    assert [await handle.result(5) for handle in handles] == [None] * 3
    told = [record.getMessage() for record in caplog.records if record.name.startswith("uow.")]
    assert len(told) == 2, told  # once for who enqueues, once for the attempts
    assert trace.get_current_span() is trace.INVALID_SPAN


@dataclass(eq=False)
class Told:
    """An attempt, as far as others hear of it."""

    worker: str = "w"
    task: Any = field(default_factory=lambda: SimpleNamespace(
        name="n", queue="q", attempt=1, tries=0, headers={}, tick=None, schedule=None,
    ))  # fmt: skip
    job_id: str = "j"
    waited: float = 0.0
    began: float = field(default_factory=time.time)

    @property
    def runtime(self) -> Any:
        return SimpleNamespace(worker=self.worker)


def begin(registry: Registry, attempt: Told) -> None:
    registry.events.emit_all((StartedAttempt(attempt),))


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF])
def test_what_was_current_before_an_attempt_is_so_after_it(
    registry: Registry, sampler: Sampler
) -> None:
    """As where attempts run in the asyncio task of who drains them."""
    attempt = Told()
    with traced(registry, sampler), Traces().tracer.start_as_current_span("outer") as outer:
        begin(registry, attempt)
        assert trace.get_current_span() is not outer
        registry.events.emit_all((EndedAttempt(attempt, Completed(b"null")),))
        assert trace.get_current_span() is outer


def test_attempts_that_end_together_each_end_their_span_also_if_the_sdk_raises_at_one(
    registry: Registry, traces: Traces
) -> None:
    traces.provider.add_span_processor(Broken("end"))
    attempts = [Told(job_id=str(number)) for number in range(3)]
    for attempt in attempts:
        begin(registry, attempt)
    registry.events.emit_all([EndedAttempt(attempt, Completed(b"null")) for attempt in attempts])
    ended = [said_by(span)["messaging.message.id"] for span in traces.all("process")]
    assert ended == ["0", "1", "2"]


def test_a_worker_that_stops_ends_the_spans_that_nobody_will_end_and_no_others(
    registry: Registry, traces: Traces
) -> None:
    for worker in ("one", "other"):
        begin(registry, Told(job_id=worker, worker=worker))
    registry.events.emit(WorkerStopped(worker="one"))
    assert said_by(traces.one("process"))["messaging.client.id"] == "one"


async def test_what_the_sampler_leaves_out_is_left_out_as_a_whole(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    with traced(registry, ALWAYS_OFF) as traces:
        seen: list[bool] = []

        @task("unseen", registry=registry)
        async def unseen(ctx: TaskContext) -> None:
            seen.append(trace.get_current_span().get_span_context().is_valid)
            seen.append(trace.get_current_span().is_recording())

        handle = await client.enqueue(unseen)
        await drain()
        await handle.result(5)
        assert seen == [True, False]
        assert traces.all() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SDK_DISABLED", "true"), ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "redis, uow")],
)
async def test_it_can_be_switched_off_from_outside(
    db: Database, client: TaskClient, registry: Registry, monkeypatch: pytest.MonkeyPatch,
    name: str, value: str,
) -> None:  # fmt: skip
    traces = Traces()
    monkeypatch.setenv(name, value)
    instrument(tracer_provider=traces.provider, registry=registry)
    with traces.tracer.start_as_current_span("request"):
        await client.enqueue(no_op(registry), 1)
    found = await db.execute_once(text("SELECT headers FROM task"), {})
    assert found.scalar_one() is None
    assert [span.name for span in traces.all()] == ["request"]


async def test_called_twice_it_makes_each_span_once(
    client: TaskClient, registry: Registry, drain: Drain, traces: Traces
) -> None:
    with traced(registry) as last:
        await client.enqueue(no_op(registry), 1)
        await drain()
        assert [span.name for span in last.all()] == [f"send {QUEUE}", f"process {QUEUE}"]
    assert traces.all() == []
