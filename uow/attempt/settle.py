"""Writes what has become of an attempt to its row, under its guard.

Success is committed together with the attempt's effects; every other outcome is written after they
were rolled back. A guard that does not hold means that somebody else has decided: then nothing of
the attempt stays.
"""

import logging
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from uow.attempt import deploys
from uow.attempt.runtime import Runtime
from uow.attempt.telling import in_fields
from uow.attempt.work import Work
from uow.db import attempts, outcomes
from uow.db.attempts import Guard
from uow.db.failures import PASSING, is_infrastructure, refuses
from uow.db.models import TaskState
from uow.db.statement import Statements
from uow.errors import OutcomeRefused
from uow.events.spine import Spine
from uow.tasks.context import RunningTask
from uow.tasks.function import TaskFunction
from uow.tasks.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Outcome,
    Retrying,
    Snoozed,
    Stray,
    traceback_of,
)
from uow.tasks.retry import MOST_SETBACKS, RetryPolicy, counted_setback, decide
from uow.tasks.settled import tell_settled
from uow.telemetry.description import one_line
from uow.telemetry.subject import fields_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """The row of one attempt.

    Attributes:
        function: None: its name is not known here.
    """

    runtime: Runtime
    function: TaskFunction[Any, Any] | None
    task: RunningTask

    async def settle(self, work: Work, outcome: Outcome) -> Outcome | None:
        """Write `outcome`, or what becomes of it when its commit fails.

        Returns:
            What was written; None: the guard did not hold.
        """
        if isinstance(outcome, Completed):
            try:
                return await self._commit(work, outcome)
            except Exception as error:  # a deferred constraint, a lost connection or unit of work
                if await self._is_committed_after(error):
                    return outcome
                outcome = decide(error, self.task.tries, self._policy, self.runtime.rng)
        await work.rollback()
        return await self.record(outcome)

    async def record(self, outcome: Outcome) -> Outcome | None:
        """Write an outcome that is not success. Its guard: not settled, and still this attempt.

        What Postgres refuses is not repeated: the task fails, and says so as plainly as it can. A
        setback that has come back too often while Postgres answered counts as the task's own
        failure. A stray is handed back, or failed if its grace is over.

        Returns:
            What was written; None: the guard did not hold.
        """
        if isinstance(outcome, Stray):
            return await self._wait_for_deploy(outcome.fault)
        task = self.task
        written, setbacks = await self._write(outcome)
        if isinstance(written, HandedBack) and written.setback and setbacks >= MOST_SETBACKS:
            rng = self.runtime.rng
            failed = counted_setback(written, setbacks, task.tries, self._policy, rng)
            written, _ = await self._write(failed)
        if written is None:
            logger.info("%s %s: attempt %d has no say any more: settled or taken over meanwhile",
                        task.name, task.id, task.attempt)  # fmt: skip
            return None
        _log(task, written)
        return written

    @property
    def retention(self) -> float:
        """Seconds that the task is kept when it is settled."""
        return retention_of(self.runtime, self.function)

    @property
    def _policy(self) -> RetryPolicy:
        return RetryPolicy() if self.function is None else self.function.policy

    async def _commit(self, work: Work, outcome: Completed) -> Completed | None:
        task_id = self._task_id
        completion = outcomes.succeed(task_id, outcome.result.decode(), self.retention)
        guard = await work.commit_with(completion, task_id, self.task.attempt)
        return outcome if guard is Guard.HELD else None

    async def _is_committed_after(self, error: Exception) -> bool:
        """Whether the commit was done, of which `error` is the answer.

        The row is read, and never guessed: that waits for a COMMIT that is still going on.
        """
        may_be = is_infrastructure(error) or isinstance(error, PASSING)
        if not may_be or refuses(error):
            return False
        task = self.task
        if not await outcomes.was_committed(self.runtime.db, self._task_id, task.attempt):
            return False
        logger.warning("%s %s: the COMMIT's answer was lost, but it is committed (%s)",
                       task.name, task.id, type(error).__name__)  # fmt: skip
        return True

    async def _write(self, outcome: Outcome) -> tuple[Outcome | None, int]:
        """Write `outcome`, or that it cannot be written.

        Returns:
            Which of the two, and how many setbacks in a row that makes; None: the guard did not
            hold.
        """
        try:
            setbacks = await self._execute(outcome)
        except Exception as error:
            if not refuses(error):
                raise
            failed = Failed(_refused(self.task, outcome, error))
        else:
            return (None, 0) if setbacks is None else (outcome, setbacks)
        return await self._write_refused(failed), 0

    async def _write_refused(self, failed: Failed) -> Failed | None:
        """Write that an outcome was refused; if that is, too, without a try: perhaps none is left.

        None: the guard did not hold.
        """
        try:
            return failed if await self._execute(failed) is not None else None
        except Exception as error:
            if not refuses(error):
                raise
        return await self._fail_without_attempt(failed.error)

    async def _fail_without_attempt(self, error: BaseException) -> Failed:
        number = Numbered(self._task_id, self.task.attempt)
        return Failed(
            error, await fail_without_attempt(self.runtime.db, number, error, self.retention)
        )

    async def _wait_for_deploy(self, fault: deploys.Fault) -> Outcome | None:
        """End an attempt whose task needs other code than is here."""
        standing = await attempts.look_up(self.runtime.db, self._task_id)
        waited = (None if standing is None else standing.unknown) or 0.0
        if waited < self.runtime.settings.unknown_task_grace:
            return await self.record(deploys.waiting(fault, waited))
        error = deploys.in_vain(fault, waited)
        task = self.task
        logger.error("%s %s failed without an attempt: %s", task.name, task.id, one_line(error))
        return await self._fail_without_attempt(error)

    async def _execute(self, outcome: Outcome) -> int | None:
        """Write an outcome that is not success.

        Returns:
            How many setbacks in a row there are now; None: the guard did not hold.
        """
        db, this = self.runtime.db, (self._task_id, self.task.attempt)
        match outcome:
            case Retrying(delay, error):
                held = await outcomes.retry(db, *this, error, delay)
            case Failed(error):
                held = await outcomes.fail(db, *this, error, self.retention)
            case Cancelled(error):
                held = await outcomes.fail(
                    db, *this, error, self.retention, state=TaskState.CANCELLED, counted=False
                )
            case Snoozed(delay):
                held = await outcomes.snooze(db, *this, delay)
            case HandedBack(delay):
                return await outcomes.hand_back(
                    db, *this, delay, setback=outcome.setback, is_stray=outcome.is_stray
                )
            case Completed() | Stray():
                raise AssertionError("neither is recorded as it is")
        return 0 if held else None

    @property
    def _task_id(self) -> UUID:
        assert self.task.id is not None  # noqa: S101 - it has a row
        return self.task.id


def _refused(task: RunningTask, outcome: Outcome, error: Exception) -> OutcomeRefused:
    """In ASCII, without a traceback: nothing in it can be what Postgres has refused."""
    told = f"the outcome of attempt {task.attempt} could not be written ({one_line(error)}): "
    more = one_line(outcome.error) if isinstance(outcome, Retrying | Failed | Cancelled) else ""
    plain = f"{told}{type(outcome).__name__} {more}".encode("ascii", "backslashreplace")
    return OutcomeRefused(plain.decode().rstrip())


def _log(task: RunningTask, outcome: Outcome) -> None:
    """Tell what was written, and no sooner: a guard that does not hold makes it untrue."""
    match outcome:
        case Retrying(delay, error):
            logger.warning("%s %s failed, again in %.1f s: %s", task.name, task.id, delay,
                           one_line(error), extra=in_fields(outcome))  # fmt: skip
        case Failed(error):
            logger.error("%s %s failed for good (try %d): %s", task.name, task.id,
                         task.tries + 1, one_line(error),
                         exc_info=traceback_of(error), extra=in_fields(outcome))  # fmt: skip
        case HandedBack(_, reason):
            logger.warning("%s %s handed back: %s", task.name, task.id, reason,
                           extra=in_fields(outcome))  # fmt: skip


class Numbered(NamedTuple):
    """A task, and the number of its last attempt: the guard of what is written about it."""

    id: UUID
    attempt: int


async def fail_without_attempt(
    db: Statements,
    task: Numbered,
    error: BaseException,
    retention: float,
    *,
    state: TaskState = TaskState.FAILED,
    events: Spine | None = None,
) -> bool:
    """Settle a task for a reason that is not its function's: no try is counted.

    Its guard: not settled, and that attempt is still the last one.

    Args:
        events: Whom to tell; None: who asks tells of it.

    Returns:
        False: Postgres refuses even that, which is said: only Redis can be told.
    """
    try:
        await outcomes.fail(db, *task, error, retention, state=state, counted=False)
    except Exception as refusal:
        if not refuses(refusal):
            raise
        why = one_line(refusal)
    else:
        if events is not None:
            await tell_settled(db, events, [task.id], error)
        return True
    logger.error("task %s cannot be failed (%s), so its row stays as it is, and it is not run: %s",
                 task.id, why, one_line(error),
                 extra=fields_of(task_id=task.id, attempt=task.attempt))  # fmt: skip
    return False


def retention_of(runtime: Runtime, function: TaskFunction[Any, Any] | None) -> float:
    """Seconds that a settled task of `function` is kept."""
    own = None if function is None else function.retention
    return runtime.settings.retention if own is None else own
