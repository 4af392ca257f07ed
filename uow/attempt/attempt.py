"""One attempt of a task that has a row.

    start (guarded) -> perform -> settle (guarded) -> answer

The row decides at both guards, so a job that is delivered twice, late, or after its task was
settled does no harm. A crash before the commit leaves nothing; a crash after it is a redelivery
that finds the task settled.
"""

import time
from typing import Self

from uow.attempt.answer import answer
from uow.attempt.delivery import HeldJob
from uow.attempt.perform import perform
from uow.attempt.runtime import Runtime
from uow.attempt.settle import AttemptRow, retention_of
from uow.attempt.shield import shielded
from uow.attempt.solo import Seat
from uow.attempt.start import start, start_over
from uow.attempt.telling import UNWRITTEN, EndedAttempt, tell_ended, tell_started
from uow.attempt.work import work_of
from uow.db.attempts import Started
from uow.db.fragments import SUSPECT_DEATHS
from uow.errors import UnknownTask
from uow.failpoints import reach
from uow.tasks.after_commit import AfterCommit
from uow.tasks.context import RunningTask
from uow.tasks.headers import decode_headers
from uow.tasks.outcome import Completed, Outcome, Stray
from uow.telemetry import subject


class Attempt:
    """An attempt that has been started; somebody completes it (`uow.attempt.completer`).

    Args:
        started: What the start has returned.
        seat: Its own inside (`uow.attempt.solo`), until it is settled.

    Attributes:
        id: The task's.
        function: None: the row's name is not known here, though its job's is: it was renamed.
        work: What `ctx["db"]` is.
        waited: Seconds from when its task was due until it began.
        began: When it was started here, in seconds since 1970.
        about: What the lines of the log about it have.
    """

    __slots__ = (
        "_arguments", "_ctx", "_deaths", "_is_told", "_seat", "about", "began", "delivery",
        "function", "held", "id", "runtime", "task", "waited", "work",
    )  # fmt: skip

    def __init__(
        self, runtime: Runtime, job: HeldJob, started: Started, seat: Seat | None = None
    ) -> None:
        self.runtime = runtime
        self._ctx, self.delivery, self.held = job
        self.began = time.time()
        self._seat = seat
        self._arguments = started.args
        self._deaths = started.deaths
        self._is_told = False
        self.waited = started.waited
        self.id = started.id
        self.task = _running(runtime, started, self.held.queue)
        self.function = runtime.registry.get(started.name)
        self.work = work_of(runtime.db, self.function, self.task)
        self.about = subject.here(self.delivery.job_id, self.held.queue)
        self.about.is_attempt(self.task)

    @classmethod
    async def start(cls, runtime: Runtime, job: HeldJob, seat: Seat) -> Self | None:
        """Begin an attempt of a job that is held; None: the guard did not hold.

        Raises:
            arq.Retry: Somebody holds the row locked.
            StartRefused: Postgres does not take it, and will not.
        """
        started = await start(runtime, job.task_id) or await start_over(runtime, job.task_id)
        return None if started is None else cls(runtime, job, started, seat)

    async def perform(self) -> Outcome:
        """Call the function; whatever happens is an outcome."""
        self._is_told = True
        tell_started(self)
        if self.function is None:
            return Stray(UnknownTask(self.runtime.registry.no_such(self.task.name)))
        context = {
            **self._ctx, "db": self.work, "task": self.task, "job_try": self.task.attempt,
        }  # fmt: skip
        outcome = await perform(self.runtime, self.function, context, self._arguments)
        reach("performed")
        return outcome

    async def settle(self, outcome: Outcome) -> Outcome | None:
        """Write `outcome`, with the effects if it is success, and tell of it.

        Returns:
            What was written; None: the guard did not hold, somebody else has decided.
        """
        row = AttemptRow(self.runtime, self.function, self.task)
        try:
            settled = await shielded(row.settle(self.work, outcome))
        except BaseException:
            self._tell_ended(UNWRITTEN)
            raise
        reach("committed")
        self._step_out()
        if isinstance(settled, Completed) and self.task.after_commit:
            self.runtime.callbacks.call(self.task.after_commit)
        self._tell_ended(settled)
        return settled

    async def answer(self, settled: Outcome | None) -> None:
        """Tell arq, a stock client and whoever waits what was written.

        Raises:
            arq.Retry, TaskFailed, asyncio.CancelledError: As `uow.attempt.answer.answer`.
        """
        await answer(self.runtime, self.delivery, self.id, settled)

    async def leave(self) -> None:
        """Undo what is still uncommitted, and give its connection back."""
        self._step_out()
        if not self.work.is_untouched:
            await shielded(self.work.rollback())

    def _tell_ended(self, outcome: Outcome | None) -> None:
        if self._is_told:  # of one whose function was not even called nobody has heard
            tell_ended(self.runtime.events, (EndedAttempt(self, outcome),))

    def _step_out(self) -> None:
        if self._seat is not None:
            self._seat.leave()

    @property
    def is_suspect(self) -> bool:
        """Whether processes have died under its task, so that it runs alone."""
        return self._deaths >= SUSPECT_DEATHS

    @property
    def retention(self) -> float:
        """Seconds that its task is kept when it is settled."""
        return retention_of(self.runtime, self.function)

    @property
    def job_id(self) -> str:
        """Of its job in Redis."""
        return self.delivery.job_id

    @property
    def is_ours(self) -> bool:
        """Whether our client has sent its job; a stock client waits for an answer of its own."""
        return self.delivery.job_id == self.task.idempotency_key


def _running(runtime: Runtime, started: Started, queue: str) -> RunningTask:
    return RunningTask(
        db=runtime.db,
        id=started.id,
        name=started.name,
        attempt=started.attempt,
        tries=started.tries,
        user_id=started.user_id,
        idempotency_key=str(started.id),
        queue=queue,
        headers=decode_headers(started.headers),
        tick=started.tick,
        after_commit=AfterCommit(started.name, started.id),
    )
