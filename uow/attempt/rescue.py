"""Takes tasks back from processes that are dead.

Two come here. The rescuer looks for dead processes all the time. And a worker may be delivered a
job whose row says that it runs elsewhere: its lease has run out, or Redis has lost it. If that
process is dead, all its tasks are taken back, so that each death is counted once, whoever finds it.
If not, the attempt is overtaken (`uow.attempt.start.start_over`): the row decides which of the two
may commit.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from uow.attempt.settle import Numbered, fail_without_attempt
from uow.db import rescue
from uow.db.begun_attempt import AttemptDatabase
from uow.db.failures import PASSING, refuses
from uow.db.models import TaskState
from uow.db.opening import mark_of
from uow.db.rescue import DeadProcess, LeftBehind, Rescued
from uow.db.statement import SILENT_SECONDS, Statements
from uow.errors import StartRefused
from uow.events.spine import Spine
from uow.events.tasks import TaskTakenBack
from uow.failpoints import reach
from uow.settings.environment import Settings
from uow.tasks.settled import tell_settled
from uow.telemetry.description import one_line
from uow.telemetry.subject import fields_of

CALM_LEASES = 2
"""Leases without a death that a suspect cannot have caused, before its own deaths count again."""

NAMED = 5
"""Tasks that are named in a line of the log."""

logger = logging.getLogger(__name__)


async def take_back(
    db: AttemptDatabase,
    settings: Settings,
    only: str | None = None,
    *,
    events: Spine | None = None,
) -> Sequence[Rescued]:
    """Take the tasks of dead processes back.

    Args:
        only: Judge this process alone.
        events: Whom to tell.

    Returns:
        The tasks; those that are quarantined are settled.
    """
    events = events or Spine()
    rescued = await _taken_back(db, settings, only, events)
    if events.wants(TaskTakenBack):
        events.emit_all([*map(_event, rescued)])
    quarantined = [task for task in rescued if task.state == TaskState.FAILED]
    await tell_settled(db, events, [task.id for task in quarantined])
    return rescued


def _event(task: Rescued) -> TaskTakenBack:
    return TaskTakenBack(
        id=task.id,
        queue=task.queue,
        deaths=task.deaths,
        quarantined=task.state == TaskState.FAILED,
    )


async def _taken_back(
    db: AttemptDatabase, settings: Settings, only: str | None, events: Spine
) -> Sequence[Rescued]:
    try:
        return await _take_back(db, settings, only)
    except Exception as error:
        if not refuses(error):
            raise
        logger.warning("tasks of dead processes are taken back one by one: %s", one_line(error))
    apart = await _one_by_one(db, settings, only, events)
    return await _take_back(db, settings, only, apart)


class _Apart(NamedTuple):
    """What has become of those that were dealt with one by one."""

    rescued: list[Rescued]
    refused: set[UUID]


class _Left(NamedTuple):
    """Dead processes, and the tasks that they have left behind."""

    processes: list[DeadProcess]
    tasks: list[LeftBehind]

    @property
    def names(self) -> list[str]:
        """Of the processes."""
        return [process.id for process in self.processes]

    @property
    def is_storm(self) -> bool:
        """Whether one has died that no suspect can have killed: none ran alone in it."""
        with_suspect = {task.worker for task in self.tasks if task.alone}
        return any(not one.leaving and one.id not in with_suspect for one in self.processes)


async def _take_back(
    db: AttemptDatabase, settings: Settings, only: str | None, apart: _Apart | None = None
) -> Sequence[Rescued]:
    """Take back together what was not dealt with `apart`, and forget the processes."""
    async with db.transaction(limit=_limit(settings, only)) as transaction:
        left = await _find(transaction, settings, only)
        if not left.processes:
            return []
        if apart is None:
            await _note_storm(transaction, left)
            apart = _Apart([], set())
        ids = [task.id for task in left.tasks if task.id not in apart.refused]
        rescued = [*apart.rescued, *await _rescue(transaction, settings, left, ids)]
        await rescue.forget_dead(transaction, left.names)
        reach("rescued")
    await _end_sessions(db, left.names, _limit(settings, only))
    _log(left.processes, rescued)
    return rescued


async def _one_by_one(
    db: AttemptDatabase, settings: Settings, only: str | None, events: Spine
) -> _Apart:
    """Take back those that can be, and fail the others; what nobody can write to stays as it is."""
    async with db.transaction(limit=_limit(settings, only)) as transaction:
        left = await _find(transaction, settings, only)
        await _note_storm(transaction, left)
    apart = _Apart([], set())
    for task in left.tasks:
        try:
            apart.rescued.extend(await _rescue(db, settings, left, [task.id]))
        except Exception as error:
            if not refuses(error):
                raise
            apart.refused.add(task.id)
            reason = StartRefused(f"it cannot be taken back to run again: {one_line(error)}")
            number = Numbered(task.id, task.attempt)
            await fail_without_attempt(db, number, reason, settings.retention, events=events)
    return apart


async def _find(db: Statements, settings: Settings, only: str | None) -> _Left:
    """The dead processes, and what they have left behind."""
    found = await rescue.find_dead(db, settings.dead_after)
    gone = [process for process in found if only in (None, process.id)]
    names = [process.id for process in gone]
    return _Left(gone, await rescue.find_left_behind(db, names) if gone else [])


def _limit(settings: Settings, only: str | None) -> float:
    # Who is about to start one of them holds its lease meanwhile, and no longer.
    return SILENT_SECONDS if only is None else settings.start_limit


async def _rescue(
    db: Statements, settings: Settings, left: _Left, ids: Sequence[UUID]
) -> list[Rescued]:
    calm = CALM_LEASES * settings.lease_seconds
    return await rescue.rescue(db, ids, left.names, calm=calm, retention=settings.retention)


async def _end_sessions(db: Statements, dead: Sequence[str], limit: float) -> None:
    """End what Postgres still does for dead processes: the next attempt would wait for its locks.

    Optional: what this cannot end, the attempt's fence does (`Database.fence`).
    """
    try:
        await rescue.end_sessions(db, [mark_of(name) for name in dead], limit=limit)
    except PASSING as error:
        _say_once(one_line(error))


@lru_cache(maxsize=10)
def _say_once(reason: str) -> None:
    logger.warning("what a dead process has left in Postgres cannot be ended (%s): its locks are "
                   "held for as long as its attempt's timeout", reason)  # fmt: skip


async def _note_storm(db: Statements, left: _Left) -> None:
    if left.is_storm:
        await rescue.note_storm(db)


def _log(gone: Sequence[DeadProcess], rescued: Sequence[Rescued]) -> None:
    ended = "a process has" if len(gone) == 1 else f"{len(gone)} processes have"
    names = ", ".join(row.id for row in gone)
    if not rescued:
        level = logging.INFO if all(row.leaving for row in gone) else logging.WARNING
        logger.log(level, "%s ended (%s), and left no task behind", ended, names)
        return
    tasks = "a task is" if len(rescued) == 1 else f"{len(rescued)} tasks are"
    ids = [str(row.id) for row in rescued[:NAMED]]
    more = ", …" if len(rescued) > NAMED else ""
    logger.warning("%s ended (%s): %s taken back: %s%s", ended, names, tasks, ", ".join(ids), more)
    for row in rescued:
        if row.state == TaskState.FAILED:
            about = fields_of(task_id=row.id, job_id=row.job_id, queue=row.queue)
            logger.error("task %s is quarantined: %d processes died under it", row.id, row.deaths,
                         extra=about)  # fmt: skip
