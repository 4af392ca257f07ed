"""Runs everything that is due, and what that enqueues, in the order in which it would be due."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from uow.clock import utcnow
from uow.db.models import TaskState
from uow.schedules.cron import schedules_of
from uow.tasks.outcome import Failed, HandedBack
from uow.testing.errors import Crashed
from uow.testing.rowless import RowlessJobs
from uow.testing.rows import EnqueuedTask, Rows
from uow.testing.runner import Ran, Runner
from uow.testing.ticking import Ticking

MOST_ATTEMPTS = 1_000
"""More than that, and something enqueues itself."""

MOST_TICKS = 10_000
"""A tick for each minute of a week, nearly."""

_AS_WRITTEN = timedelta(0)
"""A tick's task is due at the tick, which is said in the test's time."""


@dataclass(slots=True)
class Time:
    """The test's: the clock's, and by how much it is ahead of that.

    Attributes:
        travelled: By how much.
        ahead: By how much it is for what is written now: while tasks run, it goes on from one to
            the next, so that an hour from then is an hour later than that.
    """

    began: datetime = field(default_factory=utcnow)
    travelled: timedelta = timedelta(0)
    ahead: timedelta = timedelta(0)
    _due: dict[UUID, tuple[datetime, datetime]] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """In the test."""
        return utcnow() + self.travelled

    def travel(self, passed: timedelta) -> None:
        """Let so much pass."""
        self.travelled += passed
        self.ahead = self.travelled

    def arrive(self, task: EnqueuedTask) -> None:
        """It runs now, which is when it is due."""
        self.ahead = min(max(self.due(task) - utcnow(), timedelta(0)), self.travelled)

    def note(self, tasks: Iterable[EnqueuedTask], ahead: timedelta | None = None) -> None:
        """These are there; what was written since then, by a clock that is so much behind."""
        ahead = self.ahead if ahead is None else ahead
        for one in tasks:
            if one.id not in self._due or self._due[one.id][0] != one.run_at:
                at = utcnow() if one.state is TaskState.RETRYING else one.run_at
                self._due[one.id] = (one.run_at, at + ahead)

    def due(self, task: EnqueuedTask) -> datetime:
        """When it is, in the test's time."""
        return self._due[task.id][1]

    def is_due(self, task: EnqueuedTask) -> bool:
        """Whether it is; what is tried again is at once."""
        return task.state is not TaskState.SCHEDULED or self.due(task) <= self.now


class Draining:
    """Drains the tasks of one test."""

    def __init__(self, runner: Runner, rows: Rows, rowless: RowlessJobs, time: Time) -> None:
        self._runner = runner
        self._rows = rows
        self._rowless = rowless
        self._time = time
        self._ticking: Ticking | None = None

    async def drain(self, at_most: int) -> list[Ran]:
        """Run attempts until nothing is due.

        A task that is tried again, or was handed back, is due at once; one that waits for a time,
        with the time. What this process has no function for is left alone.

        Raises:
            AssertionError: More than `at_most` attempts, or `MOST_TICKS` ticks, were due; or a
                task's arguments do not fit its function, so that a worker would wait for a deploy.
        """
        ran: list[Ran] = []
        for _ in range(MOST_TICKS + at_most):
            task = await self._next_due()
            if await self._ticks_before(task):
                continue
            if task is None:
                return ran
            if len(ran) >= at_most:
                break
            self._time.arrive(task)
            ran += await self._attempt(task)
        raise AssertionError(_endless(ran, at_most))

    async def _next_due(self) -> EnqueuedTask | None:
        known = await self._noted()
        ours = [one for one in known if one.name in self._runner.registry]
        due = [one for one in ours if not one.settled and self._time.is_due(one)]
        return min(due, key=lambda one: (self._time.due(one), -one.priority, one.id), default=None)

    async def _noted(self, ahead: timedelta | None = None) -> list[EnqueuedTask]:
        await self._rows.refresh(self._runner.db)
        known = [*self._rows.known, *self._rowless.known]
        self._time.note(known, ahead)
        return known

    async def _ticks_before(self, task: EnqueuedTask | None) -> bool:
        """Fire ticks that come before that task is due; whether there were any."""
        ticking = self._ticks()
        if await ticking.admit(self._runner.db):
            await self._noted(_AS_WRITTEN)
            return True
        tick = ticking.next_tick
        if (
            tick is None
            or tick > self._time.now
            or (task is not None and self._time.due(task) < tick)
        ):
            return False
        await ticking.fire(self._runner.db, tick)
        await self._noted(_AS_WRITTEN)
        return True

    def _ticks(self) -> Ticking:
        if self._ticking is None:
            runner = self._runner
            declared = [*schedules_of(runner.registry), *runner.app.schedules(runner.settings)]
            self._ticking = Ticking(declared, runner.settings.queue, self._time.began)
        return self._ticking

    async def _attempt(self, task: EnqueuedTask) -> list[Ran]:
        if any(task.id == one.id for one in self._rowless.known):
            return [await self._runner.attempt_rowless(task, self._rowless)]
        try:
            ran = await self._runner.attempt(task)
        except Crashed:  # its worker has died; another one takes it
            return [Ran(task, None)]
        match ran.outcome:
            case HandedBack(reason=reason, is_stray=True):
                raise AssertionError(f"{task} waits for other code than is here: {reason}")
        return [ran]


def raise_first_failure(ran: Sequence[Ran]) -> None:
    """Raise what the first task has failed with that is not tried again.

    Raises:
        BaseException: That, with a note that names the task.
    """
    for one in ran:
        if isinstance(one.outcome, Failed):
            one.outcome.error.add_note(f"{one.task} has failed for good")
            raise one.outcome.error


def _endless(ran: Sequence[Ran], at_most: int) -> str:
    last = ", ".join(sorted({one.task.name for one in ran[-10:]})) or "none"
    return (
        f"drain() has run {len(ran)} attempts and fired ticks, and more are due: does a task "
        f"enqueue itself? The last were of {last}; at_most={at_most} says how many may be run"
    )
