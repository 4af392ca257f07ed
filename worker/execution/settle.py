"""Writes an attempt's outcome to its row, under its guard.

Success is committed together with the attempt's effects; every other outcome is written after they
were rolled back. A guard that does not hold means that somebody else has decided: then nothing of
the attempt stays.
"""

import logging
import random
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause

from worker.broker import codec
from worker.db.database import Database
from worker.db.failures import is_infrastructure
from worker.db.models import TaskState
from worker.execution.context import RunningTask
from worker.execution.definition import TaskFunction
from worker.execution.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Outcome,
    Retrying,
    Snoozed,
    traceback_of,
)
from worker.execution.retry import decide
from worker.execution.runtime import Runtime
from worker.execution.unit_of_work import Work

logger = logging.getLogger("worker.attempt")


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
            if is_infrastructure(error) and await _was_committed(runtime, task):
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
    runtime: Runtime, function: TaskFunction[Any, Any], task: RunningTask, outcome: Outcome
) -> Outcome | None:
    """Write an outcome that is not success. Its guard: not settled, and still this attempt.

    Returns:
        The outcome; None: the guard did not hold.
    """
    statement, more = _statement_for(runtime, function, outcome)
    found = await runtime.db.execute_once(
        statement, {"id": task.id, "attempt": task.attempt, **more}
    )
    if found.first() is None:
        logger.info("%s %s: attempt %d has no say any more: settled or taken over meanwhile",
                    task.name, task.id, task.attempt)  # fmt: skip
        return None
    _log(task, outcome)
    return outcome


def _statement_for(
    runtime: Runtime, function: TaskFunction[Any, Any], outcome: Outcome
) -> tuple[TextClause, dict[str, object]]:
    queries = runtime.db.queries
    kept = {"retention": retention_of(runtime, function)}
    match outcome:
        case Retrying(delay, error):
            return queries.retry, {"delay": delay, **codec.describe(error)}
        case Failed(error):
            failed = {"state": TaskState.FAILED, "counted": 1, **kept}
            return queries.fail, {**failed, **codec.describe(error)}
        case Cancelled(error):
            cancelled = {"state": TaskState.CANCELLED, "counted": 0, **kept}
            return queries.fail, {**cancelled, **codec.describe(error)}
        case Snoozed(delay):
            return queries.hand_back, {"state": TaskState.SCHEDULED, "delay": delay}
        case HandedBack(delay, _):
            return queries.hand_back, {"state": TaskState.QUEUED, "delay": delay}
        case Completed():
            raise AssertionError("success is committed by the unit of work")


def _log(task: RunningTask, outcome: Outcome) -> None:
    """Tell what was written, and no sooner: a guard that does not hold makes it untrue."""
    match outcome:
        case Retrying(delay, error):
            logger.warning("%s %s failed, again in %.1f s: %s: %s", task.name, task.id, delay,
                           type(error).__name__, error)  # fmt: skip
        case Failed(error):
            logger.error("%s %s failed for good (try %d): %s: %s", task.name, task.id,
                         task.tries + 1, type(error).__name__, error,
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
) -> None:
    """Settle a task for a reason that is not its function's: no try is counted.

    Its guard: not settled, and `attempt` is still the last one.
    """
    parameters = {"id": task_id, "attempt": attempt, "state": state, "counted": 0}
    await db.execute_once(
        db.queries.fail, {**parameters, "retention": retention, **codec.describe(error)}
    )


def retention_of(runtime: Runtime, function: TaskFunction[Any, Any]) -> float:
    """Seconds that a settled task of `function` is kept."""
    return runtime.settings.retention if function.retention is None else function.retention
