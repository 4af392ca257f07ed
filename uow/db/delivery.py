"""The statements about what is to be in Redis: to be pushed, and to be compared with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uow.db.statement import ID, IDS, INTEGER, Statements, template

_FIND_DUE_FOR_DISPATCH = template(
    "find_due_for_dispatch",
    """
    SELECT EXISTS (SELECT FROM {task} WHERE settled_at IS NULL AND dispatch_at <= now()
                   ORDER BY dispatch_at LIMIT 1) AS due,
           (SELECT string_agg(concat_ws(' ', number, paused_at), ',' ORDER BY number)
            FROM {pause} WHERE {is_paused}) AS pauses
    """,
)

_CLAIM_DUE_FOR_DISPATCH = template(
    "claim_due_for_dispatch",
    """
    UPDATE {task}
    SET state = CASE WHEN state = 'scheduled' AND run_at <= now() THEN 'queued'
                     ELSE state END,
        dispatch_at = CASE {held_back} ELSE 'infinity' END
    WHERE id IN (SELECT id FROM {task}
                 WHERE settled_at IS NULL AND dispatch_at <= now()
                 ORDER BY dispatch_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING {to_be_pushed},
              dispatch_at = 'infinity' AND state <> 'running' AS near, {fenced}
    """,
    limit=INTEGER,
)

_WATCHED = template(
    "watched",
    # The place is said as a row: with `=` the planner takes the primary key for the order of the
    # ids.
    """
    SELECT {to_be_pushed}
    FROM {task} AS task
    WHERE settled_at IS NULL AND (dispatch_at, id) > ('infinity', :after)
      AND NOT (state = 'running' AND EXISTS (
          SELECT FROM {worker_process} AS process
          WHERE process.id = task.worker
            AND (task.id = ANY(process.running)
                 -- It may have had no time to say so yet.
                 OR task.started_at > process.heartbeat_at - {beat_margin})))
    ORDER BY dispatch_at, id LIMIT :limit
    """,
    after=ID,
    limit=INTEGER,
)

_ATTEMPTS_OF_UNSETTLED = template(
    "attempts_of_unsettled",
    """
    SELECT id, attempt FROM {task} WHERE id = ANY(:ids) AND {unsettled}
    """,
    ids=IDS,
)

_ANY_ANNOUNCED = template(
    "any_announced",
    """
    SELECT EXISTS (SELECT FROM {task}
                   WHERE settled_at IS NULL AND dispatch_at <= now() + {look_after}
                     AND run_at <= now() AND state <> 'running' AND queue = :queue)
    """,
)


@dataclass(frozen=True, slots=True)
class Pushable:
    """A task that may have to be pushed.

    Attributes:
        job_id: Its id in Redis.
        due_ms: When it is due, in Unix milliseconds.
        due: It is due.
        attempt: The number of its last attempt.
    """

    id: UUID
    name: str
    queue: str
    priority: int
    job_id: str
    due_ms: int
    due: bool
    attempt: int


async def look(db: Statements) -> tuple[bool, str | None]:
    """Whether a relay would find something: read before it writes, and all that most of them do.

    Returns:
        That, and in which state the pauses are: another text whenever one begins, changes or ends;
        None: nothing is paused.
    """
    ((due, pauses),) = await db.execute_once(_FIND_DUE_FOR_DISPATCH())
    return due, pauses


async def claim_due(db: Statements, limit: int) -> tuple[int, list[Pushable]]:
    """A relay's batch: the oldest that are due for a look, each by one relay only.

    What it has pushed waits at infinity, where the rescuer watches it; so do running tasks. The
    caller pushes before it commits, so a crash repeats the batch.

    Returns:
        How many there are, and those that are to be pushed now.
    """
    records = await db.execute_once(_CLAIM_DUE_FOR_DISPATCH(limit=limit))
    return len(records), [Pushable(*task) for *task, near, _ in records if near]


async def watched(db: Statements, after: UUID, limit: int) -> list[Pushable]:
    """A page of what should be in Redis, in the order of the ids, behind the id `after`.

    Unsettled, pushed once, and not running in a process that lives. Reads only: a backlog of any
    size makes no dead tuple.
    """
    return [
        Pushable(*record) for record in await db.execute_once(_WATCHED(after=after, limit=limit))
    ]


async def attempts_of_unsettled(db: Statements, task_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The number of the last attempt of each that is not settled."""
    return dict(await db.execute_once(_ATTEMPTS_OF_UNSETTLED(ids=task_ids)))


async def is_any_announced(db: Statements, queue: str) -> bool:
    """Whether a due task of `queue` is still to be pushed: one that was announced a moment ago."""
    ((there,),) = await db.execute_once(_ANY_ANNOUNCED(queue=queue))
    return bool(there)
