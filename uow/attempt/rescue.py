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
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row

from uow.attempt.settle import Numbered, fail_without_attempt
from uow.db.database import SILENT_SECONDS, Database, Execute
from uow.db.failures import PASSING, refuses
from uow.db.fleet import FLEET_DUTY
from uow.db.models import TaskState
from uow.db.opening import mark_of
from uow.errors import StartRefused
from uow.failpoints import reach
from uow.settings.environment import Settings
from uow.telemetry.description import one_line

CALM_LEASES = 2
"""Leases without a death that a suspect cannot have caused, before its own deaths count again."""

NAMED = 5
"""Tasks that are named in a line of the log."""

logger = logging.getLogger(__name__)


async def take_back(
    db: Database, settings: Settings, only: str | None = None
) -> Sequence[Row[Any]]:
    """Take the tasks of dead processes back.

    Args:
        only: Judge this process alone.

    Returns:
        The tasks: id, job_id, queue, due_ms, priority, state, deaths. Those that are quarantined
        are settled.
    """
    try:
        return await _take_back(db, settings, only)
    except Exception as error:
        if not refuses(error):
            raise
        logger.warning("tasks of dead processes are taken back one by one: %s", one_line(error))
    return await _take_back(db, settings, only, await _one_by_one(db, settings, only))


class _Apart(NamedTuple):
    """What has become of those that were dealt with one by one."""

    rescued: list[Row[Any]]
    refused: set[UUID]


async def _take_back(
    db: Database, settings: Settings, only: str | None, apart: _Apart | None = None
) -> Sequence[Row[Any]]:
    """Take back together what was not dealt with `apart`, and forget the processes."""
    queries = db.queries
    async with db.transaction(limit=_limit(settings, only)) as execute:
        gone, left = await _find(db, execute, settings, only)
        if not gone:
            return []
        if apart is None:
            await _note_storm(db, execute, gone, left)
            apart = _Apart([], set())
        ids = [row.id for row in left if row.id not in apart.refused]
        rescued = await execute(queries.rescue, _rescue(settings, gone, ids))
        rows = [*apart.rescued, *rescued.all()]
        await execute(queries.forget_dead, {"processes": [row.id for row in gone]})
        reach("rescued")
    await _end_sessions(db, [row.id for row in gone], _limit(settings, only))
    _log(gone, rows)
    return rows


async def _one_by_one(db: Database, settings: Settings, only: str | None) -> _Apart:
    """Take back those that can be, and fail the others; what nobody can write to stays as it is."""
    async with db.transaction(limit=_limit(settings, only)) as execute:
        gone, left = await _find(db, execute, settings, only)
        await _note_storm(db, execute, gone, left)
    apart = _Apart([], set())
    for row in left:
        try:
            one = _rescue(settings, gone, [row.id])
            apart.rescued.extend(await db.execute_once(db.queries.rescue, one))
        except Exception as error:
            if not refuses(error):
                raise
            apart.refused.add(row.id)
            reason = StartRefused(f"it cannot be taken back to run again: {one_line(error)}")
            await fail_without_attempt(
                db, Numbered(row.id, row.attempt), reason, settings.retention
            )
    return apart


async def _find(
    db: Database, execute: Execute, settings: Settings, only: str | None
) -> tuple[Sequence[Row[Any]], Sequence[Row[Any]]]:
    """The dead processes, and what they have left behind."""
    found = await execute(db.queries.find_dead, {"seconds": settings.dead_after})
    gone = [row for row in found if only in (None, row.id)]
    if not gone:
        return [], []
    dead = {"processes": [row.id for row in gone]}
    return gone, (await execute(db.queries.find_left_behind, dead)).all()


def _limit(settings: Settings, only: str | None) -> float:
    # Who is about to start one of them holds its lease meanwhile, and no longer.
    return SILENT_SECONDS if only is None else settings.start_limit


def _rescue(settings: Settings, gone: Sequence[Row[Any]], ids: Sequence[UUID]) -> dict[str, object]:
    return {
        "processes": [row.id for row in gone],
        "ids": ids,
        "retention": settings.retention,
        "calm": CALM_LEASES * settings.lease_seconds,
    }


async def _end_sessions(db: Database, dead: Sequence[str], limit: float) -> None:
    """End what Postgres still does for dead processes: the next attempt would wait for its locks.

    Optional: what this cannot end, the attempt's fence does (`Database.fence`).
    """
    try:
        marks = {"marks": [mark_of(name) for name in dead]}
        await db.execute_once(db.queries.end_sessions, marks, limit=limit)
    except PASSING as error:
        _say_once(one_line(error))


@lru_cache(maxsize=10)
def _say_once(reason: str) -> None:
    logger.warning("what a dead process has left in Postgres cannot be ended (%s): its locks are "
                   "held for as long as its attempt's timeout", reason)  # fmt: skip


async def _note_storm(
    db: Database, execute: Execute, gone: Sequence[Row[Any]], left: Sequence[Row[Any]]
) -> None:
    if _is_storm(gone, left):
        await execute(db.queries.note_storm, {"duty": FLEET_DUTY})


def _is_storm(gone: Sequence[Row[Any]], left: Sequence[Row[Any]]) -> bool:
    """Whether one has died that no suspect can have killed: none ran alone in it."""
    with_suspect = {row.worker for row in left if row.alone}
    return any(not row.leaving and row.id not in with_suspect for row in gone)


def _log(gone: Sequence[Row[Any]], rescued: Sequence[Row[Any]]) -> None:
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
            logger.error("task %s is quarantined: %d processes died under it", row.id, row.deaths)
