"""Why is it waiting? One answer, of a closed list (`uow.questions.reasons`), by the facts.

The facts are read in two statements, by keys, and one look at Redis; then a function without any
effect decides. An answer that alarms is checked by a third statement. What is not known, as of a
worker of an older version, is never taken for a reason.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from uow.broker.place import PlaceInQueue, place_of
from uow.broker.redis import AWAY, RedisClient
from uow.broker.refusals import is_refusal
from uow.db.fragments import SUSPECT_DEATHS
from uow.db.models import TaskState
from uow.db.statement import Statements
from uow.db.waiting import ServingProcess, WaitingTask, serving_processes, waiting_task
from uow.errors import SettingsError, TaskNotFound
from uow.questions.reasons import (
    FunctionIsUnknown,
    IsAboutToStart,
    IsBeingRescued,
    IsHandedBack,
    IsNotDue,
    IsPaused,
    IsRunning,
    IsSettled,
    IsSuspect,
    IsUnserved,
    LeaderIsGone,
    NoSlotIsFree,
    OthersAreInFront,
    Reason,
    RedisIsAway,
)
from uow.settings.environment import Settings
from uow.telemetry.description import one_line

ANSWER_SECONDS = 2.0
"""A Redis that has not answered for so long counts as away."""

LOOKS = 3
"""An answer that alarms is given if the row is still as it was before the look at Redis and at the
processes: else it has been started or settled meanwhile, and is looked at again, so often at most.
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the answer depends on.

    Attributes:
        processes: Those that serve the task's queue, and the one that ran it last.
        place: Where its job stands; None: Redis does not answer.
        unknown_task_grace: Seconds; of a worker that does not say its own.
    """

    task: WaitingTask
    processes: Sequence[ServingProcess]
    place: PlaceInQueue | None
    unknown_task_grace: float

    @property
    def runner(self) -> ServingProcess | None:
        """The process that runs it and lives."""
        if self.task.state != TaskState.RUNNING:
            return None
        return next(
            (one for one in self.processes if one.id == self.task.worker and one.lives), None
        )

    @property
    def claiming(self) -> list[ServingProcess]:
        """The processes that claim tasks of its queue."""
        return [one for one in self.processes if one.claims]


async def why(db: Statements, redis: RedisClient, settings: Settings, task_id: UUID) -> Reason:
    """Why a task is where it is.

    Raises:
        TaskNotFound: It is not there.
        SettingsError: Redis refuses to tell.
    """
    task = await _read(db, task_id)
    for _ in range(LOOKS):
        facts = await _facts(db, redis, settings, task)
        reason = decide(facts)
        if not isinstance(reason, IsBeingRescued | LeaderIsGone):
            break
        before, task = task, await _read(db, task_id)
        if replace(task, now=before.now, led=before.led) == before:
            break
    return reason


async def _read(db: Statements, task_id: UUID) -> WaitingTask:
    task = await waiting_task(db, task_id)
    if task is None:
        raise TaskNotFound(f"Task id {task_id} not found")
    return task


async def _facts(
    db: Statements, redis: RedisClient, settings: Settings, task: WaitingTask
) -> Facts:
    if task.state.settled:
        return Facts(task, [], None, settings.unknown_task_grace)
    place = await _place(redis, task)
    processes = await serving_processes(db, task, settings.dead_after)
    return Facts(task, processes, place, settings.unknown_task_grace)


async def _place(redis: RedisClient, task: WaitingTask) -> PlaceInQueue | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await place_of(redis, task.queue, task.job_id)
    except AWAY as error:  # a timeout is one, too
        if is_refusal(error):
            raise SettingsError(
                f"Redis refuses to tell where a task stands in queue {task.queue!r} "
                f"({one_line(error)}): docs/operations.md has the rights of its user"
            ) from error
        return None


def decide(facts: Facts) -> Reason:
    """The first reason, in their order of precedence, that is true."""
    for find in PRECEDENCE:
        if (found := find(facts)) is not None:
            return found
    return _about_to_start(facts)


def _settled(facts: Facts) -> Reason | None:
    task = facts.task
    return IsSettled(task.state, task.settled_at) if task.state.settled else None


def _running(facts: Facts) -> Reason | None:
    task, runner = facts.task, facts.runner
    if runner is None:
        return None
    if task.deaths >= SUSPECT_DEATHS and not task.alone:
        return IsSuspect(task.deaths, runner.id)
    return IsRunning(runner.id, task.attempt, task.started_at)


def _not_due(facts: Facts) -> Reason | None:
    task = facts.task
    return IsNotDue(task.run_at, _put_off_by(task)) if task.run_at > task.now else None


def _put_off_by(task: WaitingTask) -> str | None:
    if task.state == TaskState.RETRYING:
        return f"its attempt {task.attempt} has failed"
    if task.unknown_since is not None:
        return "a worker has met it that lacks the code it needs"
    if task.setback is not None:
        return f"its attempt {task.attempt} was cut short ({task.setback})"
    return None


def _paused(facts: Facts) -> Reason | None:
    pause = facts.task.pause
    return (
        None
        if pause is None
        else IsPaused(pause.kind, pause.target, pause.reason, pause.paused_by, pause.until)
    )


def _unserved(facts: Facts) -> Reason | None:
    return None if facts.claiming else IsUnserved(facts.task.queue)


def _unknown_function(facts: Facts) -> Reason | None:
    task, claiming = facts.task, facts.claiming
    if any(one.knows is not False for one in claiming):
        return None
    graces = [facts.unknown_task_grace if one.unknown_task_grace is None
              else one.unknown_task_grace for one in claiming]  # fmt: skip
    since = task.unknown_since
    ends = None if since is None else _later(since, min(graces))
    return FunctionIsUnknown(task.name, task.queue, since, ends)


def _later(since: datetime, seconds: float) -> datetime | None:
    """So many seconds after it; None: there is no such day any more."""
    try:
        return since + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _suspect(facts: Facts) -> Reason | None:
    task = facts.task
    if task.state == TaskState.RUNNING or task.deaths < SUSPECT_DEATHS:
        return None
    return IsSuspect(task.deaths, None)


def _rescued(facts: Facts) -> Reason | None:
    task = facts.task
    if task.state == TaskState.RUNNING:  # and nobody who lives runs it
        return IsBeingRescued(task.worker)
    return IsBeingRescued(None) if _is_lost(facts) and task.led else None


def _is_lost(facts: Facts) -> bool:
    """Whether Redis should have its job, and has not."""
    return facts.task.pushed and facts.place is not None and facts.place.score is None


def _redis_away(facts: Facts) -> Reason | None:
    return RedisIsAway() if facts.place is None else None


def _leader_gone(facts: Facts) -> Reason | None:
    return LeaderIsGone() if _is_lost(facts) and not facts.task.led else None


def _handed_back(facts: Facts) -> Reason | None:
    place = facts.place
    if place is None or place.score is None or place.held or place.offered:
        return None
    return IsHandedBack(datetime.fromtimestamp(place.score / 1000, UTC))


def _in_front(facts: Facts) -> Reason | None:
    place = facts.place
    if place is None or not place.offered or not place.in_front:
        return None
    return OthersAreInFront(facts.task.queue, place.in_front)


def _no_free_slot(facts: Facts) -> Reason | None:
    """Also those of workers that may have its function; not if one does not say how it is."""
    able = [one for one in facts.claiming if one.knows is not False]
    if facts.place is None or not facts.place.offered:
        return None
    if any(one.slots is None or one.busy is None or one.busy < one.slots for one in able):
        return None
    return NoSlotIsFree(facts.task.queue, sum(one.slots or 0 for one in able))


def _about_to_start(facts: Facts) -> Reason:
    if facts.place is not None and facts.place.held:
        return IsAboutToStart("a worker has claimed it")
    if facts.place is None or facts.place.score is None:
        return IsAboutToStart("it is on its way into Redis, which takes two seconds at most")
    return IsAboutToStart("it is the next one in its queue")


PRECEDENCE: tuple[Callable[[Facts], Reason | None], ...] = (
    _settled,
    _running,
    _not_due,
    _paused,
    _unserved,
    _unknown_function,
    _suspect,
    _rescued,
    _redis_away,
    _leader_gone,
    _handed_back,
    _in_front,
    _no_free_slot,
)
"""What is looked for, in this order. Each finds its reason only where it is true by itself or where
those before it have found none."""
