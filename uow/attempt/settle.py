"""Writes an attempt's outcome to its row, under its guard.

Success is committed together with the attempt's effects; every other outcome is written after they
were rolled back. A guard that does not hold means that somebody else has decided: then nothing of
the attempt stays.
"""

import logging
import random
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause

from uow.attempt.runtime import Runtime
from uow.attempt.work import Work
from uow.db.database import Database
from uow.db.failures import PASSING, is_infrastructure, refuses
from uow.db.models import TaskState
from uow.errors import OutcomeRefused
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
    traceback_of,
)
from uow.tasks.retry import MOST_SETBACKS, counted_setback, decide
from uow.telemetry.description import describe, one_line

logger = logging.getLogger(__name__)

_rng = random.Random()  # noqa: S311 - spreads retries, guards nothing


async def settle(
    runtime: Runtime,
    function: TaskFunction[Any, Any],
    task: RunningTask,
    work: Work,
    outcome: Outcome,
    rng: random.Random,
) -> Outcome | None:
    """Write `outcome`, or what becomes of it when its commit fails.

    Returns:
        What was written; None: the guard did not hold.
    """
    if isinstance(outcome, Completed):
        try:
            return await _commit(runtime, function, task, work, outcome)
        except Exception as error:  # a deferred constraint, a lost connection, a lost unit of work
            may_be = is_infrastructure(error) or isinstance(error, PASSING)
            if may_be and not refuses(error) and await _was_committed(runtime, task):
                logger.warning("%s %s: the COMMIT's answer was lost, but it is committed (%s)",
                               task.name, task.id, type(error).__name__)  # fmt: skip
                return outcome
            outcome = decide(error, task.tries, function.policy, rng)
    await work.rollback()
    return await record(runtime, function, task, outcome)


async def _commit(
    runtime: Runtime,
    function: TaskFunction[Any, Any],
    task: RunningTask,
    work: Work,
    outcome: Completed,
) -> Completed | None:
    parameters = {
        "id": task.id,
        "result": outcome.result.decode(),
        "retention": retention_of(runtime, function),
    }
    done = await work.commit_with(runtime.db.queries.succeed, parameters)
    return outcome if done else None


async def _was_committed(runtime: Runtime, task: RunningTask) -> bool:
    """Read the row: it waits for a COMMIT that is still going on, and never guesses."""
    found = await runtime.db.execute_once(runtime.db.queries.read_back, {"id": task.id})
    row = found.first()
    return row is not None and row.state == TaskState.SUCCEEDED and row.attempt == task.attempt


async def record(
    runtime: Runtime, function: TaskFunction[Any, Any] | None, task: RunningTask, outcome: Outcome
) -> Outcome | None:
    """Write an outcome that is not success. Its guard: not settled, and still this attempt.

    Without a `function`, because its name is not known here, it is a task that is handed back.

    What Postgres refuses is not repeated: the task fails, and says so as plainly as it can. A
    setback that has come back too often while Postgres answered counts as the task's own failure.

    Returns:
        What was written; None: the guard did not hold.
    """
    written, setbacks = await _write(runtime, function, task, outcome)
    if function is not None and isinstance(written, HandedBack) and _is_its_own(written, setbacks):
        failed = counted_setback(written, setbacks, task.tries, function.policy, _rng)
        written, _ = await _write(runtime, function, task, failed)
    if written is None:
        logger.info("%s %s: attempt %d has no say any more: settled or taken over meanwhile",
                    task.name, task.id, task.attempt)  # fmt: skip
        return None
    _log(task, written)
    return written


async def _write(
    runtime: Runtime, function: TaskFunction[Any, Any] | None, task: RunningTask, outcome: Outcome
) -> tuple[Outcome | None, int]:
    """Write `outcome`, or that it cannot be written.

    Returns:
        Which of the two, and how many setbacks in a row that makes; None: the guard did not hold.
    """
    try:
        row = await _execute(runtime, function, task, outcome)
    except Exception as error:
        if not refuses(error):
            raise
        failed = Failed(_refused(task, outcome, error))
    else:
        return (None if row is None else outcome), getattr(row, "setbacks", 0)
    return await _write_refused(runtime, function, task, failed), 0


async def _write_refused(
    runtime: Runtime, function: TaskFunction[Any, Any] | None, task: RunningTask, failed: Failed
) -> Failed | None:
    """Write that an outcome was refused; if that is, too, without a try: there may be no more."""
    try:
        return failed if await _execute(runtime, function, task, failed) is not None else None
    except Exception as error:
        if not refuses(error):
            raise
    assert task.id is not None  # noqa: S101 - it has a row
    kept = retention_of(runtime, function)
    written = await fail_without_attempt(runtime.db, task.id, task.attempt, failed.error, kept)
    return Failed(failed.error, written)


async def _execute(
    runtime: Runtime, function: TaskFunction[Any, Any] | None, task: RunningTask, outcome: Outcome
) -> Row[Any] | None:
    statement, more = _statement_for(runtime, function, outcome)
    guard = {"id": task.id, "attempt": task.attempt}
    return (await runtime.db.execute_once(statement, {**guard, **more})).first()


def _is_its_own(outcome: HandedBack, setbacks: int) -> bool:
    return outcome.setback is not None and setbacks >= MOST_SETBACKS


def _refused(task: RunningTask, outcome: Outcome, error: Exception) -> OutcomeRefused:
    """In ASCII, without a traceback: nothing in it can be what Postgres has refused."""
    told = f"the outcome of attempt {task.attempt} could not be written ({one_line(error)}): "
    more = one_line(outcome.error) if isinstance(outcome, Retrying | Failed | Cancelled) else ""
    plain = f"{told}{type(outcome).__name__} {more}".encode("ascii", "backslashreplace")
    return OutcomeRefused(plain.decode().rstrip())


def _statement_for(
    runtime: Runtime, function: TaskFunction[Any, Any] | None, outcome: Outcome
) -> tuple[TextClause, dict[str, object]]:
    queries = runtime.db.queries
    kept = {"retention": retention_of(runtime, function)}
    match outcome:
        case Retrying(delay, error):
            return queries.retry, {"delay": delay, **describe(error)}
        case Failed(error):
            failed = {"state": TaskState.FAILED, "counted": 1, **kept}
            return queries.fail, {**failed, **describe(error)}
        case Cancelled(error):
            cancelled = {"state": TaskState.CANCELLED, "counted": 0, **kept}
            return queries.fail, {**cancelled, **describe(error)}
        case Snoozed(delay):
            snoozed = {"state": TaskState.SCHEDULED, "setback": None, "is_stray": False}
            return queries.hand_back, {"delay": delay, **snoozed}
        case HandedBack(delay):
            back = {"setback": outcome.setback, "is_stray": outcome.is_stray}
            return queries.hand_back, {"delay": delay, "state": TaskState.QUEUED, **back}
        case Completed():
            raise AssertionError("success is committed by the unit of work")


def _log(task: RunningTask, outcome: Outcome) -> None:
    """Tell what was written, and no sooner: a guard that does not hold makes it untrue."""
    match outcome:
        case Retrying(delay, error):
            logger.warning("%s %s failed, again in %.1f s: %s", task.name, task.id, delay,
                           one_line(error))  # fmt: skip
        case Failed(error):
            logger.error("%s %s failed for good (try %d): %s", task.name, task.id,
                         task.tries + 1, one_line(error),
                         exc_info=traceback_of(error))  # fmt: skip
        case HandedBack(_, reason):
            logger.warning("%s %s handed back: %s", task.name, task.id, reason)


async def fail_without_attempt(
    db: Database,
    task_id: UUID,
    attempt: int,
    error: BaseException,
    retention: float,
    *,
    state: TaskState = TaskState.FAILED,
) -> bool:
    """Settle a task for a reason that is not its function's: no try is counted.

    Its guard: not settled, and `attempt` is still the last one.

    Returns:
        False: Postgres refuses even that, which is said: only Redis can be told.
    """
    parameters = {"id": task_id, "attempt": attempt, "state": state, "counted": 0}
    try:
        await db.execute_once(
            db.queries.fail, {**parameters, "retention": retention, **describe(error)}
        )
    except Exception as refusal:
        if not refuses(refusal):
            raise
        why = one_line(refusal)
    else:
        return True
    logger.error("task %s cannot be failed (%s), so its row stays as it is, and it is not run: %s",
                 task_id, why, one_line(error))  # fmt: skip
    return False


def retention_of(runtime: Runtime, function: TaskFunction[Any, Any] | None) -> float:
    """Seconds that a settled task of `function` is kept."""
    own = None if function is None else function.retention
    return runtime.settings.retention if own is None else own
