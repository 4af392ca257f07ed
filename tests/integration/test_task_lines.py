"""Every line about a task says which: under both engines, whoever formats it."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import func

from tests.conftest import Drain
from uow import Settings, TaskClient, TaskContext, task
from uow.attempt.running import Held, Running
from uow.fast.slots import Slots
from uow.fast.worker import FastWorker
from uow.tasks.registry import Registry
from uow.telemetry import JsonLines, subject

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}

theirs = logging.getLogger("theirs")

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    """What our formatter makes of all that is logged, from INFO on."""
    caplog.set_level(logging.INFO)
    written: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Kept()
    handler.setFormatter(JsonLines())
    logging.root.addHandler(handler)
    yield lambda: [json.loads(line) for line in written]
    logging.root.removeHandler(handler)


def with_message(lines: Lines, *parts: str) -> list[dict[str, Any]]:
    return [line for line in lines() if all(part in line["message"] for part in parts)]


async def test_the_lines_of_arqs_worker_about_a_task_say_all_of_it(
    drain: Drain, registry: Registry, client: TaskClient, lines: Lines
) -> None:
    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None: ...

    handle = await client.enqueue(send.options(user_id="ann", headers=HEADERS))
    await drain()
    (ended,) = with_message(lines, "←", str(handle.id))
    about = {name: ended[name] for name in
             ("task_id", "task", "job_id", "queue", "user_id", "attempt", "trace_id")}  # fmt: skip
    assert about == {
        "task_id": str(handle.id), "task": "mails.send", "job_id": str(handle.id),
        "queue": "arq:queue", "user_id": "ann", "attempt": 1, "trace_id": TRACE,
    }  # fmt: skip
    assert ended["logger"] == "arq.worker"
    assert ended["worker"]
    (begun,) = with_message(lines, "→", str(handle.id))
    assert (begun["job_id"], begun["task"]) == (str(handle.id), "mails.send")


async def test_what_a_task_function_logs_is_about_its_task_also_in_what_it_starts(
    drain: Drain, registry: Registry, client: TaskClient, lines: Lines
) -> None:
    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None:
        theirs.info("in the function")

        async def inside() -> None:
            theirs.info("in a task of its own")

        await asyncio.create_task(inside())
        await asyncio.to_thread(theirs.info, "in a thread")

    handles = [await client.enqueue(send.options(user_id=user)) for user in ("ann", "ben")]
    await drain()
    for handle, user in zip(handles, ("ann", "ben"), strict=True):
        told = [one for one in lines() if one.get("task_id") == str(handle.id)]
        said = [one for one in told if one["logger"] == "theirs"]
        assert len(said) == 3
        assert {one["user_id"] for one in said} == {user}
        assert {one["attempt"] for one in said} == {1}


async def test_a_failure_says_its_outcome_and_shows_no_argument(
    drain: Drain, registry: Registry, client: TaskClient, lines: Lines
) -> None:
    @task("cards.charge", registry=registry, max_tries=1)
    async def charge(ctx: TaskContext, card: str) -> None:
        raise RuntimeError("declined")

    handle = await client.enqueue(charge, card="4111-1111")
    await drain()
    (failed,) = with_message(lines, "failed for good")
    assert failed["outcome"] == "failed"
    assert failed["error_type"] == "RuntimeError"
    assert "declined" in failed["exception"]
    assert failed["task_id"] == str(handle.id)
    assert not [line for line in lines() if "4111" in json.dumps(line)]


async def test_a_rowless_task_has_a_job_and_no_row(
    drain: Drain, registry: Registry, client: TaskClient, lines: Lines
) -> None:
    @task("pings.send", registry=registry, durable=False, max_tries=1)
    async def ping(ctx: TaskContext) -> None:
        theirs.info("on its way")
        raise RuntimeError("lost")

    await client.enqueue(ping)
    await drain()
    (said,) = with_message(lines, "on its way")
    (failed,) = with_message(lines, "failed for good")
    for line in (said, failed):
        assert line["task"] == "pings.send"
        assert line["job_id"]
        assert line["attempt"] == 1
        assert "task_id" not in line


async def test_what_is_no_task_of_ours_is_told_by_its_job(
    drain: Drain, registry: Registry, settings: Settings, lines: Lines
) -> None:
    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None: ...

    url = RedisSettings.from_dsn(settings.redis_url.get_secret_value())
    pool = await create_pool(url)
    await pool.set("arq:job:theirs", b"no payload")
    await pool.zadd("arq:queue", {"theirs": 1})
    await pool.aclose()
    await drain()
    told = [one for one in lines() if one.get("job_id") == "theirs"]
    assert told
    assert {one["queue"] for one in told} == {"arq:queue"}


async def test_a_line_about_no_task_has_no_fields_of_one(
    drain: Drain, registry: Registry, client: TaskClient, lines: Lines
) -> None:
    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None: ...

    await client.enqueue(send)
    await drain()
    (ready,) = with_message(lines, "ready: queue")
    assert not {"task", "task_id", "job_id"} & ready.keys()


async def test_what_is_cancelled_while_it_runs_is_named_from_outside(lines: Lines) -> None:
    running = Running()
    runs = asyncio.create_task(asyncio.sleep(60))
    running.add(Held("job", "arq:queue", 1, b"", runs=runs))
    running.interrupt("None")
    (told,) = with_message(lines, "was cancelled while it ran")
    assert told["job_id"] == "job"
    await asyncio.wait([runs])


async def test_what_comes_before_an_attempt_is_about_its_job_and_what_comes_after_is_not() -> None:
    seen: list[str | None] = []

    def look() -> None:
        about = subject.current()
        seen.append(None if about is None else about.job_id)

    async def work() -> None:
        look()

    slots = Slots({}, lambda: 1, lambda: None, lambda *_: None)
    slots.spawn(Held("one", "arq:queue", 1, b""), work())
    look()
    await slots.emptied()
    assert seen == [None, "one"]


async def test_jobs_of_an_arq_class_are_told_by_function_and_try(
    settings: Settings, lines: Lines
) -> None:
    async def send(ctx: dict[str, Any]) -> None:
        theirs.info("sent")

    url = RedisSettings.from_dsn(settings.redis_url.get_secret_value())
    pool = await create_pool(url)
    await pool.enqueue_job("send", _job_id="one")
    await pool.aclose()
    worker = FastWorker(
        [func(send, name="send")], redis_settings=url, burst=True, handle_signals=False
    )
    try:
        await worker.async_run()
    finally:
        await worker.close()
    for message in ("→", "sent", "←"):
        (line,) = with_message(lines, message)
        assert line["job_id"] == "one"
        assert line["attempt"] == 1
        assert line["worker"] == worker.name
        assert line["task"] == "send"
