"""Runs the attempts of a test: the product's own way, without a process around it.

    start (guarded) -> perform -> settle (guarded) -> answer

It is `uow.attempt.run.run_held` with the `Runtime` that is made here, and nowhere else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import arq

from uow.app import AppParts, look_for_app
from uow.attempt.attempt import Attempt
from uow.attempt.delivery import Delivery, HeldJob
from uow.attempt.rowless import RowlessAttempt
from uow.attempt.run import run_held
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.clock import milliseconds, utcnow
from uow.db import attempts, interventions
from uow.db.database import Database
from uow.errors import TaskCancelled, TaskFailed
from uow.failpoints import reach
from uow.settings.environment import Settings
from uow.tasks.headers import decode_headers
from uow.tasks.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Outcome,
    Retrying,
    Snooze,
    Snoozed,
)
from uow.tasks.registry import Registry, default_registry
from uow.testing.nowhere import redis_nowhere
from uow.testing.rowless import RowlessJobs
from uow.testing.rows import EnqueuedTask, make_due
from uow.testing.troubles import Meanwhile, Troubles

T = TypeVar("T")

WORKER = "the test"
"""The name of the worker, in the rows."""

_runs: ContextVar[bool] = ContextVar("_runs", default=False)


@dataclass(frozen=True, slots=True)
class Ran:
    """One attempt of a task, and how it ended.

    Attributes:
        outcome: What was written; None: nothing, for somebody else had decided about the task.
    """

    task: EnqueuedTask
    outcome: Outcome | None

    @property
    def error(self) -> BaseException | None:
        """What it failed with, or was ended by."""
        match self.outcome:
            case Retrying(error=error) | Failed(error) | Cancelled(error):
                return error
            case HandedBack():
                return self.outcome.error or RuntimeError(self.outcome.reason)
            case Snoozed(delay):
                return Snooze(delay)
        return None

    def result(self) -> bytes:
        """What the function returned, as JSON.

        Raises:
            BaseException: What the attempt ended with instead, with a note that says what becomes
                of the task.
            TaskCancelled: Somebody else has settled the task, or taken it over, meanwhile.
        """
        if isinstance(self.outcome, Completed):
            return self.outcome.result
        error = self.error
        if error is None:
            raise TaskCancelled(
                f"{self.task} was settled, or taken over, while it ran: nothing of this attempt "
                "is committed"
            )
        error.add_note(f"{self.task}: {_becomes(self.outcome)}")
        raise error


def _becomes(outcome: Outcome | None) -> str:
    match outcome:
        case Retrying(delay):
            return f"it is tried again in {delay:.1f} s"
        case Snoozed(delay):
            return f"it runs again in {delay:g} s"
        case HandedBack(delay):
            return f"it was handed back, and runs again in {delay:.1f} s, without a try"
    return "the task is settled"


class _NoLeases:
    """Nothing is delivered here, so nothing is held."""

    def queue_of(self, job_id: str) -> str:
        return "arq:queue"

    def holds(self, job_id: str) -> bool:
        return False

    @contextlib.asynccontextmanager
    async def holding(self, held: Held) -> AsyncIterator[None]:
        yield


class Runner:
    """Runs attempts of one test, one after the other.

    Args:
        open_database: Makes what `ctx["db"]` works on, given the schema of our tables.
        settings: ``ctx["settings"]``; None: those of the application, from the environment.
        app: The application; None: the one that a worker would run here.
        context: What is in `ctx` beside, or instead of, what a worker puts there.
        troubles: What is to go wrong.
    """

    def __init__(
        self,
        open_database: Callable[[str], Database],
        troubles: Troubles,
        *,
        settings: Settings | None = None,
        app: AppParts | None = None,
        registry: Registry | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self.troubles = troubles
        self.app = app or look_for_app(None).app
        self.settings = settings or self.app.load_settings()
        self.db = open_database(self.settings.database_schema)
        self.registry = default_registry if registry is None else registry
        self.redis = redis_nowhere()
        self.context = {"settings": self.settings, "redis": self.redis, **(context or {})}
        self._turn = asyncio.Lock()

    def load(self) -> None:
        """Import the task modules that a worker would.

        Raises:
            SettingsError: One of them cannot be imported.
        """
        if self.settings.task_modules or self.app.modules:
            was = self.registry.loaded  # whoever only enqueues by name may name others' functions
            self.registry.load(self.settings.task_modules, of_app=self.app.modules)
            self.registry.loaded = was

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Let nothing else of the test run tasks meanwhile.

        Raises:
            RuntimeError: A task function has asked for it.
        """
        if _runs.get():
            raise RuntimeError("a task function runs no tasks: enqueue them, and let the test run")
        async with self._turn:
            token = _runs.set(True)
            try:
                yield
            finally:
                _runs.reset(token)

    async def attempt(self, task: EnqueuedTask) -> Ran:
        """Run one attempt of a task now, whenever it is due.

        Raises:
            Crashed: The worker has died on the way.
            AssertionError: No attempt of it can begin.
        """
        await make_due(self.db, task.id)
        noting = _Noting(self.troubles)
        with self.troubles.of_attempt(), contextlib.suppress(arq.Retry, TaskFailed):
            await self._alone(lambda runtime: run_held(runtime, self._job(task), noting))
        if noting.attempt is None and not task.settled:
            standing = await attempts.look_up(self.db, task.id)
            if standing is not None and not standing.settled:
                raise AssertionError(f"no attempt of {task} can begin: its row is {standing.state}")
        return Ran(task, noting.settled)

    async def attempt_rowless(self, task: EnqueuedTask, jobs: RowlessJobs) -> Ran:
        """Run one attempt of a task that has no row."""
        function = self.registry[task.name]
        now, job_id = milliseconds(utcnow()), str(task.id)
        delivery = Delivery(
            task.name, job_id, None, (), task.arguments, now, now, task.tries + 1,
            decode_headers(task.headers),
        )  # fmt: skip
        context = {**self.context, **delivery.context}
        outcome = await self._alone(
            lambda runtime: RowlessAttempt(runtime, function, context, delivery).run()
        )
        jobs.note(task, outcome)
        return Ran(task, outcome)

    async def _alone(self, attempt: Callable[[Runtime], Coroutine[Any, Any, T]]) -> T:
        """Run an attempt as a worker does: in an asyncio task of its own, and what follows it."""
        runtime = self._runtime()
        try:
            return await asyncio.create_task(attempt(runtime))
        finally:
            await runtime.callbacks.end(in_haste=False)

    def _runtime(self) -> Runtime:
        return Runtime(
            db=self.db,
            redis=self.redis,
            registry=self.registry,
            leases=_NoLeases(),
            settings=self.settings,
            worker=WORKER,
            flush_pushes=_nothing,
            suspend=lambda: None,
            events=self.registry.events,
        )

    def _job(self, task: EnqueuedTask) -> HeldJob:
        now, job_id = milliseconds(utcnow()), str(task.id)
        delivery = Delivery(task.name, job_id, task.id, (), {}, now, now, task.attempt + 1)
        held = Held(job_id, task.queue, now, b"", task.id)
        return HeldJob({**self.context, **delivery.context}, delivery, held)


class _Noting:
    """A completer that settles at once, and remembers what was written."""

    def __init__(self, troubles: Troubles) -> None:
        self.attempt: Attempt | None = None
        self.settled: Outcome | None = None
        self._troubles = troubles

    async def complete(self, attempt: Attempt, outcome: Outcome) -> None:
        self.attempt = attempt
        self._troubles.refuse_if_dead()
        await _MEANWHILE.get(self._troubles.meanwhile(), _nobody)(attempt)
        self.settled = await attempt.settle(outcome)
        reach("settled")
        await attempt.answer(self.settled)


async def _cancel(attempt: Attempt) -> None:
    await interventions.cancel(attempt.runtime.db, attempt.id, attempt.retention)


async def _take_over(attempt: Attempt) -> None:
    await attempts.start(attempt.runtime.db, attempt.id, "another worker", take_over=True)


async def _nobody(attempt: Attempt) -> None:
    pass


async def _nothing() -> None:
    pass


_MEANWHILE: dict[Meanwhile | None, Callable[[Attempt], Awaitable[None]]] = {
    Meanwhile.CANCELLED: _cancel,
    Meanwhile.TAKEN_OVER: _take_over,
}
