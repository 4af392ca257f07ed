"""The statements that make a task's row, and that find who has its unique key."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from uow.db.statement import (
    ID,
    IDS,
    INTEGER,
    MOMENT,
    REAL,
    SILENT_SECONDS,
    TEXT,
    TEXTS,
    Run,
    Statement,
    Statements,
    template,
)

_INSERT = template(
    "insert",
    # :run_at wins over :delay. :announced says that this process pushes after the commit, so the
    # relay need not look at once (and the trigger does not notify it). The columns of :name and
    # :queue are of domains of ours; as text they are nothing that the driver has to ask about.
    """
    INSERT INTO {task} (id, name, args, state, queue, priority, user_id, unique_key,
                        waiting_key, run_at, dispatch_at, headers)
    SELECT given.id, :name, CAST(given.args AS json),
           CASE WHEN due.run_at > now() THEN 'scheduled' ELSE 'queued' END,
           :queue, due.priority, :user_id, :unique_key, :waiting_key, due.run_at,
           CASE {held_back}
                WHEN CAST(:announced AS boolean) THEN now() + {look_after}
                ELSE now() END,
           CAST(:headers AS json)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:arguments AS text[])) AS given (id, args),
         (SELECT coalesce(CAST(:run_at AS timestamptz),
                          now() + make_interval(secs => :delay)) AS run_at,
                 CAST(:priority AS integer) AS priority) AS due
    ON CONFLICT DO NOTHING
    RETURNING id, CAST(extract(epoch FROM run_at) * 1000 AS bigint) AS due_ms,
              run_at <= now() AS due,
              run_at <= now() + {lead} AND (priority = 0 OR run_at <= now()) AS near
    """,
    name=TEXT,
    queue=TEXT,
    ids=IDS,
    arguments=TEXTS,
    run_at=MOMENT,
    delay=REAL,
    priority=INTEGER,
)

_INSERT_FOREIGN_JOB = template(
    "insert_foreign_job",
    """
    INSERT INTO {task} (id, name, args, queue, job_id, dispatch_at, headers)
    VALUES (:id, :name, CAST(:args AS json), :queue, :job_id, now() + {look_after},
            CAST(:headers AS json))
    ON CONFLICT (id) DO NOTHING
    """,
    id=ID,
)

_FIND_HOLDER = template(
    "find_holder",
    """
    SELECT id FROM {task}
    WHERE settled_at IS NULL AND (unique_key = :unique_key OR waiting_key = :waiting_key)
    """,
)


@dataclass(frozen=True, slots=True)
class NewTasks:
    """Tasks of one name with the same options, a row for each of `ids`.

    Attributes:
        arguments: As JSON, one for each.
        unique_key: Held until it is settled.
        waiting_key: Held until it is started.
        run_at: Wins over `delay`.
        delay: Seconds from now.
        announced: This process pushes them after the commit.
        headers: As JSON; None: there are none.
    """

    ids: Sequence[UUID]
    arguments: Sequence[str]
    name: str
    queue: str
    priority: int = 0
    user_id: str | None = None
    unique_key: str | None = None
    waiting_key: str | None = None
    run_at: datetime | None = None
    delay: float = 0.0
    announced: bool = False
    headers: str | None = None


class Inserted(NamedTuple):
    """A row that was made.

    Attributes:
        due_ms: When it is due, in Unix milliseconds.
        due: It is due now.
        near: It is to be pushed now; what is due much later stays in Postgres.
    """

    id: UUID
    due_ms: int
    due: bool
    near: bool


_inserted: Callable[[Iterable[Any]], Inserted] = partial(tuple.__new__, Inserted)
"""`Inserted._make` without a call of Python's own: large batches notice."""


def _insertion(new: NewTasks) -> Statement:
    return _INSERT(
        ids=new.ids,
        arguments=new.arguments,
        name=new.name,
        queue=new.queue,
        priority=new.priority,
        user_id=new.user_id,
        unique_key=new.unique_key,
        waiting_key=new.waiting_key,
        run_at=new.run_at,
        delay=new.delay,
        announced=new.announced,
        headers=new.headers,
    )


async def insert(db: Statements, new: NewTasks) -> Iterator[Inserted]:
    """Make the rows; those that were made come out: not one whose key another task holds."""
    return map(_inserted, await db.execute_once(_insertion(new)))


def insert_by(run: Run, new: NewTasks) -> list[Inserted]:
    """`insert`, in a transaction of somebody else's."""
    return list(map(_inserted, run(_insertion(new))))


def find_holder_by(run: Run, new: NewTasks) -> UUID | None:
    """The unsettled task that holds a key of `new`, in a transaction of somebody else's."""
    found = run(_FIND_HOLDER(unique_key=new.unique_key, waiting_key=new.waiting_key))
    return found[0][0] if found else None


async def insert_foreign_job(
    db: Statements,
    task_id: UUID,
    *,
    name: str,
    arguments: str,
    queue: str,
    job_id: str,
    headers: str | None,
    limit: float = SILENT_SECONDS,
) -> None:
    """Make the row of a stock arq client's job, unless it is there.

    Args:
        arguments: As JSON.
        headers: As JSON; None: there are none.
    """
    statement = _INSERT_FOREIGN_JOB(
        id=task_id, name=name, args=arguments, queue=queue, job_id=job_id, headers=headers
    )
    await db.execute_once(statement, limit=limit)
