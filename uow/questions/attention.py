"""What wants somebody's attention first, with what it is about.

A look at what other questions have found, that asks no server itself: `worker doctor` looks longer,
and at more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from uow.db.fleet_around import FleetAround, ProcessAround
from uow.db.load import WaitingTasks
from uow.questions.loads import RatePoint

OLD_SECONDS = 60.0
"""Who has waited longer where nothing is paused waits for long."""

PATIENCE_SECONDS = 10.0
"""A queue may be without a worker for so long: that of a deploy that stops before it starts."""

LAG_SECONDS = 1.0
"""A loop that is held up for so long renews no lease in time by itself."""

RECENT = timedelta(minutes=15)
"""Failures of this time are compared with those before it."""

MANY_FAILURES = 10
"""Fewer are not compared: two are twice as many as one."""

RISE = 3
"""Failures rise if there are so many times as many as before."""

NAMED = 3
"""Of several things, so many are named."""

Weight = Literal["broken", "warning"]

About = Literal[
    "everything", "queue", "name", "user", "task", "failures", "workers", "schedules", "servers"
]


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing that wants attention.

    Attributes:
        id: Which kind of thing: stable, for programs.
        about: Where it is mended.
        target: The queue, the name, the user or the task's id; of others empty.
        text: What it is, in a sentence.
    """

    id: str
    weight: Weight
    about: About
    target: str
    text: str


def what_wants_attention(
    waiting: Sequence[WaitingTasks],
    around: FleetAround,
    points: Sequence[RatePoint],
    *,
    redis_trouble: str | None,
) -> list[Attention]:
    """What is broken first, then what may be.

    Args:
        points: The last hours by minute, the oldest first.
        redis_trouble: Why Redis does not answer; None: it does.
    """
    found = [
        *_of_redis(redis_trouble),
        *_of_fleet(around.processes),
        *_of_queues(waiting, around),
        *_of_tasks(waiting),
        *_of_schedules(around),
        *_of_pauses(around),
        *_of_failures(points),
    ]
    return sorted(found, key=lambda one: one.weight)


def _of_redis(trouble: str | None) -> Iterator[Attention]:
    if trouble is not None:
        yield Attention(
            "redis.away", "broken", "servers", "",
            f"Redis does not answer ({trouble}): no task starts until it does. None is lost: they "
            "wait in Postgres.",
        )  # fmt: skip


def _of_fleet(processes: Sequence[ProcessAround]) -> Iterator[Attention]:
    living = [one for one in processes if one.lives]
    if not any(not one.leaving for one in living):
        yield Attention(
            "fleet.nobody", "broken", "workers", "", "No worker lives: nothing runs. Start one."
        )
    elif not any(one.leads for one in living):
        yield Attention(
            "fleet.leaderless", "broken", "workers", "",
            "No worker leads: nothing is rescued, scheduled or pruned meanwhile.",
        )  # fmt: skip
    if dead := [one.id for one in processes if not one.lives]:
        yield Attention(
            "fleet.dead", "warning", "workers", "",
            f"Without a heartbeat, though they have not ended: {_named(dead)}.",
        )  # fmt: skip
    if late := [f"{one.id} {one.lag:.1f} s" for one in living if (one.lag or 0) >= LAG_SECONDS]:
        yield Attention(
            "fleet.loop-lag", "warning", "workers", "",
            f"Something blocks the event loop of {_named(late)}.",
        )  # fmt: skip
    versions = sorted({one.version for one in living if one.version is not None})
    if len(versions) > 1:
        yield Attention(
            "fleet.mixed-versions", "warning", "workers", "",
            f"Workers run several versions: {_named(versions)}.",
        )  # fmt: skip


def _of_queues(waiting: Sequence[WaitingTasks], around: FleetAround) -> Iterator[Attention]:
    paused = {one.target for one in around.pauses if one.kind in ("queue", "everything")}
    for queue in sorted({one.queue for one in waiting}):
        those = [one for one in waiting if one.queue == queue]
        due, oldest = sum(one.due for one in those), max(one.oldest or 0.0 for one in those)
        if due and queue not in around.served and oldest >= PATIENCE_SECONDS:
            yield Attention(
                "queue.unserved", "broken", "queue", queue,
                f"No live worker serves queue {queue}: {due:,} due there, the first for "
                f"{_for(oldest)}.",
            )  # fmt: skip
        elif due and oldest >= OLD_SECONDS and not paused & {queue, ""}:
            yield Attention(
                "queue.old", "warning", "queue", queue,
                f"Somebody has waited for {_for(oldest)} in queue {queue}, with {due:,} due.",
            )  # fmt: skip


def _of_tasks(waiting: Sequence[WaitingTasks]) -> Iterator[Attention]:
    for one in waiting:
        if one.suspect is not None:
            yield Attention(
                "task.suspect", "warning", "task", one.suspect,
                f"Worker processes died under {one.suspects:,} of {one.name} in queue {one.queue}: "
                f"it runs alone now. One is {one.suspect}.",
            )  # fmt: skip
        if one.unknown:
            yield Attention(
                "task.unknown-function", "warning", "name", one.name,
                f"No worker that met them has the function {one.name}: {one.unknown:,} wait in "
                f"queue {one.queue}.",
            )  # fmt: skip


def _of_schedules(around: FleetAround) -> Iterator[Attention]:
    if overdue := [one.name for one in around.overdue]:
        yield Attention(
            "schedules.overdue", "broken", "schedules", "",
            f"Schedules whose tick is due, and that nobody fires: {_named(overdue)}.",
        )  # fmt: skip
    if missed := [one.name for one in around.missed]:
        yield Attention(
            "schedules.missed", "warning", "schedules", "",
            f"Schedules that missed ticks within 24 hours: {_named(missed)}.",
        )  # fmt: skip
    if resting := [one.name for one in around.resting]:
        yield Attention(
            "schedules.paused", "warning", "schedules", "",
            f"Schedules that are paused: {_named(resting)}.",
        )  # fmt: skip


def _of_pauses(around: FleetAround) -> Iterator[Attention]:
    for one in around.pauses:
        why = f": {one.reason}" if one.reason else "."
        what = "Everything" if one.kind == "everything" else f"{one.kind.title()} {one.target}"
        until = f" until {one.until:%Y-%m-%d %H:%M} UTC" if one.until else ""
        yield Attention(
            "paused", "warning", one.kind, one.target,
            f"{what} is paused by {one.paused_by}{until}{why}",
        )  # fmt: skip


def _of_failures(points: Sequence[RatePoint]) -> Iterator[Attention]:
    if not points:
        return
    since = points[-1].at - RECENT
    late, early = [[one for one in points if (one.at > since) is new] for new in (True, False)]
    failed, before = (sum(one.ended.get("failed", 0) for one in those) for those in (late, early))
    if failed < MANY_FAILURES:
        return
    minutes = max((since - points[0].at).total_seconds() / 60, RECENT.total_seconds() / 60)
    usual = before / minutes * (RECENT.total_seconds() / 60)
    if failed > RISE * usual:
        yield Attention(
            "failures.rising", "warning", "failures", "",
            f"Failures rise: {failed:,} in the last 15 minutes of the plots, where {usual:,.0f} "
            "were usual.",
        )  # fmt: skip


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _for(seconds: float) -> str:
    for length, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"
