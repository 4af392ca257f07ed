"""The statements that show the worker processes there are, and what each of them runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uow.db.fleet import FLEET_DUTY
from uow.db.profile import Profile, Signs
from uow.db.statement import IDS, INTEGER, REAL, TEXT, Statements, template

_PROCESSES = template(
    "processes",
    # One that has left says so with a heartbeat at the beginning of time, until it is forgotten.
    """
    SELECT process.id, app, queue, running, leaving, started_at,
           CAST(date_part('epoch', now() - heartbeat_at) AS double precision) AS silent,
           heartbeat_at > now() - make_interval(secs => :dead_after) AS lives,
           leader.holder IS NOT NULL AS leads,
           host, pid, version, slots, code, lease_seconds, unknown_task_grace,
           busy, lag, pool_busy, pool_idle, pool_room
    FROM {worker_process} AS process
    LEFT JOIN {worker_leader} AS leader
         ON leader.duty = :duty AND leader.holder = process.id AND leader.until > now()
    WHERE heartbeat_at > '-infinity'
    ORDER BY process.id LIMIT :limit
    """,
    dead_after=REAL,
    duty=TEXT,
    limit=INTEGER,
)

_RUNNING_TASKS = template(
    "running_tasks",
    # Each is found by its key, whatever the planner believes of the table.
    """
    SELECT running.*
    FROM (SELECT * FROM unnest(:ids) LIMIT cardinality(:ids)) AS given (id)
         CROSS JOIN LATERAL (
             SELECT id, name, worker, attempt, started_at FROM {task} AS task
             WHERE task.id = given.id AND state = 'running' LIMIT 1) AS running
    """,
    ids=IDS,
)

_OWN = 9
"""Columns of a process in front of its profile and its signs."""


@dataclass(frozen=True, slots=True)
class LivingProcess:
    """A worker process that has not ended, as far as is known.

    Attributes:
        queues: What it serves.
        running: The tasks that it holds, as of its last heartbeat.
        leaving: It has been told to stop.
        silent: Seconds since its last heartbeat.
        lives: That is not too long.
        leads: It does what is done once in the whole fleet.
    """

    id: str
    app: str
    queues: list[str]
    running: list[UUID]
    leaving: bool
    started_at: datetime
    silent: float
    lives: bool
    leads: bool
    profile: Profile
    signs: Signs


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """A task that an attempt runs."""

    id: UUID
    name: str
    worker: str
    attempt: int
    started_at: datetime


async def processes(db: Statements, dead_after: float, limit: int) -> list[LivingProcess]:
    """The worker processes, by name.

    Args:
        dead_after: Seconds without a heartbeat after which one counts as dead.
    """
    statement = _PROCESSES(dead_after=dead_after, duty=FLEET_DUTY, limit=limit)
    return [_process(record) for record in await db.execute_once(statement)]


def _process(record: Sequence[Any]) -> LivingProcess:
    id_, app, queue, running, leaving, started_at, silent, lives, leads = record[:_OWN]
    profile = dict(zip(Profile.__slots__, record[_OWN:], strict=False))
    signs = dict(zip(Signs.__slots__, record[_OWN + len(profile) :], strict=True))
    return LivingProcess(
        id_, app, queue.split(","), running, leaving, started_at, silent, lives, leads,
        Profile(**profile), Signs(**signs),
    )  # fmt: skip


async def running_tasks(db: Statements, task_ids: Sequence[UUID]) -> list[RunningAttempt]:
    """Those of the tasks that an attempt runs now."""
    return [
        RunningAttempt(*record) for record in await db.execute_once(_RUNNING_TASKS(ids=task_ids))
    ]
