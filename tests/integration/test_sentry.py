"""What tasks tell Sentry with our integration: failures, once; scopes, traces, monitors."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from sqlalchemy import text

from tests.conftest import Drain
from tests.sentry import Reports, reporting
from tests.ticks import fire
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
    cron,
    middleware,
    task,
)
from uow.contrib.sentry import UowIntegration
from uow.contrib.sentry.attempts import RunningScope
from uow.contrib.sentry.monitors import config_of, slug_of
from uow.events.processes import ScheduleInCode
from uow.tasks.registry import Registry

CARD = "-".join(["4000", "0000"])
"""An argument; not as a whole in any line of the source, which Sentry shows."""

KINDS: dict[str, Any] = {"atomic": {}, "separate": {"atomic": False}, "rowless": {"durable": False}}


@pytest.fixture
def reports(registry: Registry) -> Iterator[Reports]:
    with reporting([UowIntegration(registry=registry)]) as reports:
        yield reports


@pytest.fixture
def no_log() -> Iterator[None]:
    """Nothing is logged: pytest keeps the records, and they keep the frames of errors."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def fails_with(
    registry: Registry, error: Callable[[], Exception], name: str = "orders.charge", **options: Any
) -> Any:
    @task(name, backoff=Backoff(base=0), registry=registry, **options)
    async def charge(ctx: TaskContext, card: str = "") -> None:
        raise error()

    return charge


@pytest.mark.parametrize("kind", KINDS)
async def test_the_final_failure_is_reported_once_with_whose_it_is(
    client: TaskClient, registry: Registry, drain: Drain, reports: Reports, kind: str
) -> None:
    charge = fails_with(registry, lambda: ValueError("declined"), max_tries=2, **KINDS[kind])
    options = {} if kind == "rowless" else {"user_id": "ada"}
    handle = await client.enqueue(charge.options(**options), CARD)
    for _ in range(2):
        await drain()
    (event,) = reports.events
    (value,) = event["exception"]["values"]
    assert (value["type"], value["value"]) == ("ValueError", "declined")
    assert (event["level"], value["mechanism"]) == ("error", {"type": "uow", "handled": False})
    assert event["transaction"] == "orders.charge"
    assert event["tags"] == {
        "task": "orders.charge",
        "task.attempt": 2,
        "task.queue": "arq:queue",
        "task.idempotency_key": str(handle.id),
    }
    assert event.get("user") == (None if kind == "rowless" else {"id": "ada"})
    assert event["contexts"]["task"]["tries"] == 1
    assert CARD not in reports


@pytest.mark.parametrize("kind", KINDS)
async def test_on_request_every_failure_is_reported(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    charge = fails_with(registry, lambda: ValueError("declined"), max_tries=2, **KINDS[kind])
    asks = fails_with(registry, lambda: Retry(0), "asks", max_tries=2, **KINDS[kind])
    with reporting([UowIntegration(registry=registry, all_failures=True)]) as reports:
        await client.enqueue(charge)
        await client.enqueue(asks)
        for _ in range(2):
            await drain()
    told = sorted((event["transaction"], event["level"]) for event in reports.events)
    assert told == [("asks", "error"), ("orders.charge", "error"), ("orders.charge", "warning")]


@pytest.mark.parametrize("error", [Snooze(3600), Cancel("nothing to do"), Retry(3600)])
async def test_what_a_function_ends_by_on_purpose_is_no_failure(
    client: TaskClient, registry: Registry, drain: Drain, reports: Reports, error: Exception
) -> None:
    await client.enqueue(fails_with(registry, lambda: error))
    await drain()
    assert reports.events == []


@pytest.mark.filterwarnings("ignore:The send_default_pii option:DeprecationWarning")
@pytest.mark.parametrize(
    ("options", "are_sent"),
    [
        ({"send_default_pii": True}, True),
        ({"data_collection": {"queues": True}}, True),
        ({"data_collection": {"queues": False}}, False),
        ({"send_default_pii": False}, False),
    ],
)
async def test_local_variables_and_with_them_arguments_are_sent_if_that_is_chosen(
    client: TaskClient, registry: Registry, drain: Drain, options: dict[str, Any], are_sent: bool
) -> None:
    integration = UowIntegration(registry=registry)
    with reporting([integration], **options) as reports:
        await client.enqueue(fails_with(registry, lambda: ValueError(), max_tries=1), CARD)
        await drain()
    print(str(reports.items)[:6000])
    assert (CARD in reports) is are_sent


async def test_nothing_of_the_arguments_is_sent_whoever_reports(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, reports: Reports
) -> None:
    await db.execute_once(text("CREATE TABLE card (number text UNIQUE)"), {})

    @task("store", max_tries=1, registry=registry)
    async def store(ctx: TaskContext, card: str) -> None:
        try:
            raise ValueError("caught")
        except ValueError as error:
            sentry_sdk.capture_exception(error)
            logging.getLogger("theirs").exception("caught as well")
        async with ctx["db"].get_session() as session:
            for _ in range(2):
                await session.execute(text("INSERT INTO card VALUES (:n)"), {"n": card})

    await client.enqueue(store, CARD)
    await drain()
    assert len(reports.events) == 3
    assert CARD not in reports


@pytest.mark.parametrize("kind", ["atomic", "rowless"])
async def test_what_one_attempt_tells_is_not_in_the_report_of_another(
    client: TaskClient, registry: Registry, drain: Drain, reports: Reports, kind: str
) -> None:
    both = asyncio.Barrier(2)

    @middleware(registry=registry)
    async def around(ctx: TaskContext, call_next: CallNext) -> object:
        sentry_sdk.set_tag("seen", "by middleware")
        return await call_next()

    @task("meets", max_tries=1, registry=registry, **KINDS[kind])
    async def meets(ctx: TaskContext, who: str) -> None:
        sentry_sdk.set_tag("who", who)
        await both.wait()
        raise ValueError(who)

    for who in ("ada", "bob"):
        await client.enqueue(meets, who)
    await drain()
    told = {event["exception"]["values"][0]["value"]: event["tags"] for event in reports.events}
    assert {who: (tags["who"], tags["seen"]) for who, tags in told.items()} == {
        "ada": ("ada", "by middleware"), "bob": ("bob", "by middleware"),
    }  # fmt: skip
    assert "who" not in sentry_sdk.get_isolation_scope()._tags


async def test_nothing_of_an_attempt_is_kept_when_it_has_ended(
    client: TaskClient, registry: Registry, drain: Drain, reports: Reports, no_log: None
) -> None:
    class Kept:
        pass

    kept: list[weakref.ref[Kept]] = []

    @task("ends", max_tries=1, registry=registry)
    async def ends(ctx: TaskContext, fails: bool) -> None:
        of_this_attempt = Kept()
        kept.append(weakref.ref(of_this_attempt))
        if fails:
            raise ValueError("declined")

    for fails in (True, False):
        await client.enqueue(ends, fails)
    await drain()
    gc.collect()
    assert len(reports.events) == 1
    assert [ref() for ref in kept] == [None, None]
    assert not any(type(one) is RunningScope for one in gc.get_objects())


async def test_a_task_that_fails_without_an_attempt_is_reported(
    settings: Settings, db: Database, client: TaskClient, registry: Registry, drain: Drain,
    reports: Reports,
) -> None:  # fmt: skip
    fails_with(registry, ValueError)
    await client.enqueue("of.nobody")
    await db.execute_once(text("UPDATE task SET unknown_since = now() - interval '2 hours'"), {})
    await drain()
    (event,) = reports.events
    assert event["exception"]["values"][0]["type"] == "UnknownTask"
    assert event["tags"]["task"] == "of.nobody"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_attempt_is_a_transaction_in_the_trace_of_who_has_asked(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    @task("traced", registry=registry, **KINDS[kind])
    async def traced(ctx: TaskContext) -> None:
        with sentry_sdk.start_span(op="work", name="inside"):
            await asyncio.sleep(0)

    with reporting([UowIntegration(registry=registry)], traces_sample_rate=1.0) as reports:
        with sentry_sdk.start_transaction(name="POST /orders", op="http.server"):
            await client.enqueue(traced)
        await drain()
        charge = fails_with(registry, ValueError, max_tries=1, **KINDS[kind])
        await client.enqueue(charge)
        await drain()
    request, good, bad = reports.transactions
    about = good["contexts"]["trace"]
    (published,) = request["spans"]
    assert (published["op"], published["description"]) == ("queue.publish", "traced")
    assert about["trace_id"] == request["contexts"]["trace"]["trace_id"]
    assert about["parent_span_id"] == published["span_id"]
    assert (good["transaction"], about["op"], about["status"]) == ("traced", "queue.process", "ok")
    assert [span["description"] for span in good["spans"] if span["op"] == "work"] == ["inside"]
    assert good["tags"]["task.outcome"] == "completed"
    assert bad["contexts"]["trace"]["status"] == "internal_error"
    (event,) = reports.events
    assert event["contexts"]["trace"]["span_id"] == bad["contexts"]["trace"]["span_id"]


async def test_without_tracing_the_errors_of_a_request_and_of_its_task_are_in_one_trace(
    client: TaskClient, registry: Registry, drain: Drain, reports: Reports
) -> None:
    charge = fails_with(registry, lambda: ValueError("declined"), max_tries=1)
    with sentry_sdk.isolation_scope():
        await client.enqueue(charge)
        sentry_sdk.capture_message("the request has failed, too", "error")
    await drain()
    traces = [event["contexts"]["trace"]["trace_id"] for event in reports.events]
    assert len(traces) == 2
    assert len(set(traces)) == 1


async def test_where_spans_are_streamed_an_attempt_is_one(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    async def asked() -> None:
        with sentry_sdk.traces.start_span("POST /orders") as request:
            await client.enqueue(fails_with(registry, ValueError, max_tries=1))
        traces.append(request.trace_id)

    traces: list[str] = []
    integration = UowIntegration(registry=registry)
    with reporting([integration], traces_sample_rate=1.0, trace_lifecycle="stream") as reports:
        await asked()
        await drain()
    (attempt,) = [span for span in reports.spans if span["name"] == "orders.charge"]
    assert attempt["trace_id"] == traces[0]
    assert attempt["status"] == "error"
    assert len(reports.events) == 1


async def test_headers_that_are_no_trace_or_leave_no_room_change_nothing(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    with reporting([UowIntegration(registry=registry)], traces_sample_rate=1.0) as reports:
        charge = fails_with(registry, ValueError, max_tries=1)
        odd: list[dict[str, str]] = [
            {"sentry-trace": "nonsense", "baggage": "=;,sentry-"},
            {"sentry-trace": "", "baggage": "x" * 3000},
            {"much": "x" * 4070},
        ]
        for headers in odd:
            await client.enqueue(charge.options(headers=headers))
        await drain()
    assert len(reports.events) == len(reports.transactions) == 3


async def test_an_sdk_that_raises_changes_nothing(
    client: TaskClient, registry: Registry, drain: Drain, reports: Reports,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def breaks(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the SDK is broken")

    @task("fine", registry=registry)
    async def fine(ctx: TaskContext) -> str:
        return "fine"

    with monkeypatch.context() as broken:
        for name in ("get_traceparent", "get_isolation_scope", "flush", "continue_trace"):
            broken.setattr(sentry_sdk, name, breaks)
        handles = [await client.enqueue(fine) for _ in range(3)]
        await drain()
    assert [await handle.result(5) for handle in handles] == ["fine"] * 3
    told = [one for one in caplog.records if one.name == "uow.events.spine"]
    assert len(told) == 2  # of all attempts; of the end of the worker


async def test_nothing_is_done_where_sentry_is_set_up_without_it(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    UowIntegration(registry=registry)  # made, and not given
    with reporting([]) as reports:
        await client.enqueue(fails_with(registry, ValueError, max_tries=1))
        await drain()
    assert {event["logger"] for event in reports.events} >= {"uow.attempt.settle"}
    found = await db.execute_once(text("SELECT headers FROM task"), {})
    assert found.scalar_one() is None


@pytest.mark.parametrize(
    ("error", "status"), [(None, "ok"), (Cancel(), "ok"), (ValueError(), "error")]
)
async def test_a_schedule_is_a_monitor(
    db: Database, settings: Settings, client: TaskClient, registry: Registry, drain: Drain,
    error: Exception | None, status: str,
) -> None:  # fmt: skip
    @cron("0 3 * * *", timezone="Europe/Berlin")
    @task("Orders.Tidy", max_tries=2, backoff=Backoff(base=0), registry=registry)
    async def tidy(ctx: TaskContext) -> None:
        await client.enqueue(other)
        if error is not None:
            raise error

    @task("other", registry=registry)
    async def other(ctx: TaskContext) -> None: ...

    with reporting([UowIntegration(registry=registry, monitor_schedules=True)]) as reports:
        await fire(db, settings, registry)
        for _ in range(2):
            await drain()
    begun = ["in_progress"] * (2 if status == "error" else 1)
    assert [one["status"] for one in reports.check_ins] == [*begun, status]
    (slug,) = {one["monitor_slug"] for one in reports.check_ins}
    assert slug == "orders-tidy"
    assert len({one["check_in_id"] for one in reports.check_ins}) == 1
    assert all(
        one["monitor_config"] == {
            "schedule": {"type": "crontab", "value": "0 3 * * *"}, "timezone": "Europe/Berlin",
        }
        for one in reports.check_ins
    )  # fmt: skip


async def test_a_schedule_is_no_monitor_unless_that_is_chosen(
    db: Database, settings: Settings, registry: Registry, drain: Drain, reports: Reports
) -> None:
    @cron("0 3 * * *")
    @task("tidy", registry=registry)
    async def tidy(ctx: TaskContext) -> None: ...

    await fire(db, settings, registry)
    await drain()
    assert reports.check_ins == []


@pytest.mark.parametrize(
    ("expression", "schedule"),
    [
        ("*/5 * * * mon-fri", {"type": "crontab", "value": "*/5 * * * mon-fri"}),
        ("0 */5 * * * *", {"type": "crontab", "value": "*/5 * * * *"}),
        ("30 */5 * * * *", None),
        ("@daily", {"type": "crontab", "value": "0 0 * * *"}),
        (" @Daily", {"type": "crontab", "value": "0 0 * * *"}),
        ("@every 120 s", {"type": "interval", "value": 2, "unit": "minute"}),
        ("@every 90 s", None),
    ],
)
def test_an_expression_is_said_as_sentry_knows_it(expression: str, schedule: Any) -> None:
    config = config_of(ScheduleInCode("tidy", expression, "UTC"))
    assert (None if config is None else config["schedule"]) == schedule


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("orders.tidy", "orders-tidy"),
        ("Orders.Tidy(n=1)", "orders-tidy-n-1"),
        ("a_b-c", "a_b-c"),
        ("x" * 60, "x" * 41 + "-" + "48ab5b37"),
        ("夜", "8ebf9fba"),
    ],
)
def test_a_name_is_said_as_sentry_takes_it(name: str, slug: str) -> None:
    made = slug_of(name)
    assert len(made) <= 50
    assert made.rpartition("-")[0] == slug.rpartition("-")[0]
