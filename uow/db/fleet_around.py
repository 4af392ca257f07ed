"""What stands out beside the tasks: pauses, processes, ticks that were not fired."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from uow.db.fleet import FLEET_DUTY
from uow.db.pauses import Kind
from uow.db.statement import INTEGER, REAL, TEXT, Statements, template

MOST = 500
"""Of each kind."""

MOST_PROCESSES = 1000

MOST_TICKS = 10_000
"""Of which the missed ones are looked for: the latest."""

_FLEET_AROUND = template(
    "fleet_around",
    """
    (SELECT 'pause' AS what, kind, target, reason AS said, paused_by AS who, paused_at AS at, until,
            CAST(NULL AS double precision[]) AS numbers
     FROM {pause} WHERE {is_paused} ORDER BY number LIMIT :most)
    UNION ALL
    (SELECT 'process', app, process.id, version, queue, started_at, NULL,
            CAST(ARRAY[
                date_part('epoch', now() - heartbeat_at),
                CAST(heartbeat_at > now() - make_interval(secs => :dead_after) AS integer),
                CAST(leaving AS integer), CAST(leader.holder IS NOT NULL AS integer), slots, busy,
                lag] AS double precision[])
     FROM {worker_process} AS process LEFT JOIN {worker_leader} AS leader
          ON leader.duty = :duty AND leader.holder = process.id AND leader.until > now()
     WHERE heartbeat_at > '-infinity' ORDER BY process.id LIMIT :most_processes)
    UNION ALL
    (SELECT 'missed', app, name, NULL, NULL, min(tick), max(coalesce(until, tick)), NULL
     FROM (SELECT app, name, fate, tick, until FROM {schedule_tick}
           WHERE noted_at > now() - interval '24 hours' ORDER BY noted_at DESC LIMIT :most_ticks
          ) AS noted
     WHERE fate = 'missed' GROUP BY app, name ORDER BY app, name LIMIT :most)
    UNION ALL
    (SELECT CASE WHEN paused_at IS NULL THEN 'overdue' ELSE 'resting' END, app, name, NULL, NULL,
            coalesce(paused_at, next_tick), NULL, NULL
     FROM {schedule}
     WHERE removed_at IS NULL AND seen_at > now() - {gone}
       AND (paused_at IS NOT NULL OR next_tick < now() - make_interval(secs => :overdue))
     ORDER BY app, name LIMIT :most)
    """,
    dead_after=REAL,
    duty=TEXT,
    overdue=REAL,
    most=INTEGER,
    most_processes=INTEGER,
    most_ticks=INTEGER,
)


@dataclass(frozen=True, slots=True)
class ProcessAround:
    """A worker process that has not ended, as far as is known.

    Attributes:
        queues: What it serves.
        silent: Seconds since its last heartbeat.
        lives: That is not too long.
        leaving: It has been told to stop.
        leads: It does what is done once in the whole fleet.
        slots, busy, lag, version: None: it does not say.
    """

    app: str
    id: str
    version: str | None
    queues: list[str]
    silent: float
    lives: bool
    leaving: bool
    leads: bool
    slots: int | None
    busy: int | None
    lag: float | None


@dataclass(frozen=True, slots=True)
class HoldingPause:
    """A pause that holds: what it is of, why, by whom, since when, until when."""

    kind: Kind
    target: str
    reason: str | None
    paused_by: str
    paused_at: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class TickAround:
    """A schedule, and a moment of it.

    Attributes:
        at: The first tick that was missed; the one that is due; or since when it is paused.
        until: The last one that was missed.
    """

    app: str
    name: str
    at: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class FleetAround:
    """What stands out; at most `MOST` of each kind.

    Attributes:
        pauses: The oldest first.
        processes: By name; `MOST_PROCESSES` of them.
        missed: Schedules whose ticks were missed within a day.
        overdue: Schedules whose tick is due, and was not fired.
        resting: Schedules that are paused.
    """

    pauses: list[HoldingPause]
    processes: list[ProcessAround]
    missed: list[TickAround]
    overdue: list[TickAround]
    resting: list[TickAround]

    @property
    def served(self) -> set[str]:
        """Queues that a live worker serves that is not about to leave."""
        claiming = [one for one in self.processes if one.lives and not one.leaving]
        return {queue for one in claiming for queue in one.queues}


async def read_fleet_around(db: Statements, dead_after: float, overdue: float) -> FleetAround:
    """All of it, with one statement.

    Args:
        dead_after: Seconds after which a silent process counts as dead.
        overdue: Seconds for which a tick may be due.
    """
    statement = _FLEET_AROUND(
        dead_after=dead_after, duty=FLEET_DUTY, overdue=overdue, most=MOST,
        most_processes=MOST_PROCESSES, most_ticks=MOST_TICKS,
    )  # fmt: skip
    found = FleetAround([], [], [], [], [])
    ticks = {"missed": found.missed, "overdue": found.overdue, "resting": found.resting}
    for what, kind, target, said, who, at, until, numbers in await db.execute_once(statement):
        if what == "pause":
            found.pauses.append(HoldingPause(kind, target, said, who, at, until))
        elif what == "process":
            found.processes.append(_process(kind, target, said, who, numbers))
        else:
            ticks[what].append(TickAround(kind, target, at, until))
    return found


def _process(
    app: str, id_: str, version: str | None, queues: str, numbers: Sequence[float | None]
) -> ProcessAround:
    silent, lives, leaving, leads, slots, busy, lag = numbers
    return ProcessAround(
        app, id_, version, queues.split(","), silent or 0.0, bool(lives), bool(leaving),
        bool(leads), _whole(slots), _whole(busy), lag,
    )  # fmt: skip


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
