"""What the extensions cost of each attempt, in µs of CPU: metrics, tracing, listeners, logs.

    python tools/extension_costs.py [attempts] [µs of a whole attempt]

Run it in a clone. The attempts are those of a task that does nothing, with a row and without one,
32 at once as the worker's own engine runs them; and no server is asked anything: what claims,
writes and finishes is the same whatever listens. Each extension has a process of its own, where
attempts with it and without it take turns; shown is the median of the differences. The share is
that of a whole attempt: what `worker bench` shows as the worker CPU of a durable task.
"""

import contextlib
import gc
import logging
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import uvloop

from uow import CallNext, Database, Settings, TaskContext, TaskFunction, middleware, on, task
from uow.attempt.attempt import Attempt
from uow.attempt.delivery import Delivery, HeldJob
from uow.attempt.notes import EndedAlike, Notes
from uow.attempt.rowless import RowlessAttempt
from uow.attempt.run import go_on
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.attempt.solo import Seat
from uow.attempt.telling import EndedAttempt, StartedAttempt, tell_ended
from uow.clock import milliseconds, utcnow
from uow.db.attempts import Started
from uow.events import AttemptEnded
from uow.fast import job_log
from uow.fast.slots import Slots
from uow.ids import new_id
from uow.run import YOUNG_OBJECTS
from uow.services.counts import Counts
from uow.settings.log_level import LogFormat
from uow.tasks.headers import NO_HEADERS, encode_headers
from uow.tasks.outcome import Outcome
from uow.tasks.registry import Registry
from uow.telemetry.logs import LOGGERS, Unheard, configure, edit_logs
from uow.testing.nowhere import redis_nowhere

ATTEMPTS, WHOLE = 20_000, 105.0
AT_ONCE = 32
OF_A_ROUND = 10 * AT_ONCE
QUEUE = "arq:queue"

Headers = Mapping[str, str]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
DROPPED, KEPT = ({"traceparent": f"{TRACE}{flags}"} for flags in ("00", "01"))
"""What travels with a task whose enqueuer traces."""


class Jobs:
    """Runs attempts as our engine does, but for what servers do in it."""

    def __init__(self, registry: Registry, headers: Headers) -> None:
        self._headers = headers
        self._runtime = Runtime(
            db=Database("postgresql+asyncpg://nobody@127.0.0.1/nowhere"), redis=redis_nowhere(),
            registry=registry, leases=self, settings=Settings(), worker="one:1:abcdef",
            flush_pushes=_nothing, suspend=lambda: None, events=registry.events,
        )  # fmt: skip
        self._slots = Slots({}, lambda: AT_ONCE, lambda: None, lambda *_: None)
        self._ended: list[tuple[Attempt, Outcome]] = []

    async def with_rows(self, function: TaskFunction[Any, Any]) -> float:
        """CPU seconds of a round of attempts of tasks that have a row."""
        headers = encode_headers("", self._headers) if self._headers else None
        jobs = [self._job(function, NO_HEADERS) for _ in range(OF_A_ROUND)]
        rows = [
            Started(job.task_id, function.name, "{}", 1, 0, None, 0, None, headers, 0.01)
            for job in jobs
        ]
        began = time.process_time()
        for at in range(0, OF_A_ROUND, AT_ONCE):
            self._runtime.solo.enter(AT_ONCE)
            for job, row in zip(jobs[at : at + AT_ONCE], rows[at : at + AT_ONCE], strict=True):
                self._slots.spawn(job.held, self._attempt(job, row))
            await self._slots.emptied()
            self._end()
        return time.process_time() - began

    async def rowless(self, function: TaskFunction[Any, Any]) -> float:
        """CPU seconds of a round of attempts of tasks that have none."""
        jobs = [self._job(function, self._headers) for _ in range(OF_A_ROUND)]
        began = time.process_time()
        for at in range(0, OF_A_ROUND, AT_ONCE):
            for job in jobs[at : at + AT_ONCE]:
                self._slots.spawn(job.held, self._rowless(function, job))
            await self._slots.emptied()
        return time.process_time() - began

    async def complete(self, attempt: Attempt, outcome: Outcome) -> None:
        """Later, as our engine completes what has nothing else to commit."""
        self._ended.append((attempt, outcome))

    def _job(self, function: TaskFunction[Any, Any], headers: Headers) -> HeldJob:
        now, id_ = milliseconds(utcnow()), new_id()
        row = id_ if function.durable else None
        held = Held(str(id_), QUEUE, now, b"", row)
        delivery = Delivery(function.name, held.job_id, row, (), {}, now, now, 1, headers)
        return HeldJob(dict(delivery.context), delivery, held)

    async def _attempt(self, job: HeldJob, row: Started) -> None:
        attempt = Attempt(self._runtime, job, row, Seat(self._runtime.solo))
        job_log.started(job.delivery)
        await go_on(attempt, self)

    async def _rowless(self, function: TaskFunction[Any, Any], job: HeldJob) -> None:
        attempt = RowlessAttempt(self._runtime, function, dict(job.ctx), job.delivery)
        job_log.started(job.delivery)
        await attempt.run()
        job_log.completed(job.delivery, attempt.began, attempt.about)

    def _end(self) -> None:
        ended, self._ended = self._ended, []
        for attempt, _ in ended:
            job_log.completed(attempt.delivery, attempt.began, attempt.about)
        tell_ended(self._runtime.events, (EndedAttempt(*one) for one in ended))

    def queue_of(self, job_id: str) -> str:
        """Of all of them."""
        return QUEUE

    def holds(self, job_id: str) -> bool:
        """None is delivered twice."""
        return False

    def holding(self, held: Held) -> AbstractAsyncContextManager[None]:
        """Nothing can be lost."""
        return nullcontext()


async def _nothing() -> None:
    pass


# -- the extensions: each is there while its block runs --------------------------------------------


def metrics(registry: Registry, notes: Notes) -> AbstractContextManager[object]:
    """As with WORKER_METRICS_PORT; nobody asks for them."""
    from uow.metrics.metrics import Metrics

    return Metrics().listening(registry.events, notes)


@contextlib.contextmanager
def _traced(registry: Registry, *, kept: bool) -> Iterator[None]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    from uow.contrib.otel import instrument, uninstrument

    provider = TracerProvider(sampler=ALWAYS_ON if kept else ALWAYS_OFF)
    instrument(tracer_provider=provider, registry=registry)
    yield
    uninstrument(registry=registry)


@contextlib.contextmanager
def bare_span(registry: Registry, notes: Notes) -> Iterator[None]:
    """What no tracing can do without: the SDK makes a span that is not kept, and it is current."""
    from opentelemetry import context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
    from opentelemetry.trace import SpanKind, set_span_in_context

    tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("bare")

    def begin(those: Sequence[StartedAttempt]) -> None:
        span = tracer.start_span(QUEUE, kind=SpanKind.CONSUMER)
        context.attach(set_span_in_context(span))

    registry.events.listen_to_batches(begin, StartedAttempt)
    yield


def sampled_out(registry: Registry, notes: Notes) -> AbstractContextManager[object]:
    """With a sampler that keeps nothing."""
    return _traced(registry, kept=False)


def recorded(registry: Registry, notes: Notes) -> AbstractContextManager[object]:
    """With one that keeps all; what an exporter costs is not in it."""
    return _traced(registry, kept=True)


def listener(registry: Registry, notes: Notes) -> AbstractContextManager[object]:
    """One for the end of attempts, that does nothing."""

    @on(AttemptEnded, registry=registry)
    def hear(event: AttemptEnded) -> None: ...

    return nullcontext()


def around(registry: Registry, notes: Notes) -> AbstractContextManager[object]:
    """A middleware that does nothing."""

    @middleware(registry=registry)
    async def pass_on(ctx: TaskContext, call_next: CallNext) -> object:
        return await call_next()

    return nullcontext()


@contextlib.contextmanager
def _logged(form: LogFormat) -> Iterator[None]:
    configure("INFO", form)
    edit_logs()
    ours = [one for name in LOGGERS for one in logging.getLogger(name).handlers]
    with Path(os.devnull).open("w") as nowhere:
        _write_to(ours, nowhere)
        yield
        _write_to(ours, sys.stderr)
    configure("WARNING", form)


def _write_to(handlers: Iterable[logging.Handler], stream: TextIO) -> None:
    for handler in handlers:
        if isinstance(handler, Unheard):
            handler.setStream(stream)


def text_lines(registry: Registry, notes: Notes) -> AbstractContextManager[object]:
    """INFO lines, two of an attempt; what is written is thrown away."""
    return _logged("text")


def json_lines(registry: Registry, notes: Notes) -> AbstractContextManager[object]:
    """The same as JSON."""
    return _logged("json")


def nothing(registry: Registry, notes: Notes) -> AbstractContextManager[object]:
    """Nothing: how exact the figures are."""
    return nullcontext()


Extension = Callable[[Registry, Notes], AbstractContextManager[object]]

EXTENSIONS: dict[str, tuple[Extension, Headers]] = {
    "nothing": (nothing, NO_HEADERS),
    "metrics": (metrics, NO_HEADERS),
    "a bare span of the SDK's": (bare_span, NO_HEADERS),
    "tracing, sampled out": (sampled_out, DROPPED),
    "tracing, recorded": (recorded, KEPT),
    "one listener": (listener, NO_HEADERS),
    "one middleware": (around, NO_HEADERS),
    "INFO lines as text": (text_lines, NO_HEADERS),
    "INFO lines as JSON": (json_lines, NO_HEADERS),
}


class Cost(NamedTuple):
    """µs of an attempt without an extension, and by how much it is longer with it."""

    without: float
    more: float


async def _round(extension: Extension, headers: Headers, *, durable: bool) -> float:
    """µs of an attempt."""
    registry = Registry()

    @task("nothing.done", durable=durable, registry=registry)
    async def no_op(ctx: TaskContext) -> None:
        """Do nothing."""

    jobs, notes = Jobs(registry, headers), Notes(registry.events, registry.__contains__)
    notes.listen(partial(_roll_up, Counts()))
    gc.collect()
    with extension(registry, notes):
        took = await (jobs.with_rows(no_op) if durable else jobs.rowless(no_op))
    return took / OF_A_ROUND * 1e6


def _roll_up(counts: Counts, ended: Sequence[EndedAlike]) -> None:
    """As every worker does, whatever listens."""
    for those in ended:
        counts.note(those)


async def _costs(name: str, attempts: int) -> tuple[Cost, Cost]:
    extension, headers = EXTENSIONS[name]
    with_row: list[Cost] = []
    rowless: list[Cost] = []
    for n in range(attempts // OF_A_ROUND + 3):
        for kept, durable in ((with_row, True), (rowless, False)):
            without = await _round(nothing, NO_HEADERS, durable=durable)
            with_it = await _round(extension, headers, durable=durable)
            if n >= 2:  # the first ones import, and fill caches
                kept.append(Cost(without, with_it - without))
    return _median(with_row), _median(rowless)


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.median(each) for each in zip(*costs, strict=True)))


def measure(name: str, attempts: int) -> tuple[Cost, Cost]:
    """What an extension costs, with a row and without; in a process for itself."""
    gc.collect()  # as `worker run` does
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    return uvloop.run(_costs(name, attempts))


def main(attempts: int, whole: float) -> None:
    """Print the table."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as alone:
        print(f"µs of CPU per attempt{'with a row':>21}{'rowless':>10}{f'of {whole:g}':>10}")
        for name in EXTENSIONS:
            row, rowless = alone.submit(measure, name, attempts).result()
            share = f"{row.more / whole:.1%}"
            print(
                f"{name:<27}{row.without:>7.1f} {row.more:>+7.1f}{rowless.more:>+10.1f}{share:>10}"
            )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else ATTEMPTS, float(given[1]) if given[1:] else WHOLE)
