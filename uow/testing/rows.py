"""The rows of the tasks that a test has asked for, as they stand now."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from uow.broker import codec
from uow.db.models import TaskState
from uow.db.statement import ID, IDS, Records, Statement, Statements, Template

_OURS = "created_at = now()"
"""In one transaction the time stands still, so these are the tasks of the test and nobody else's: a
database that a developer works with may have others, which a worker runs."""

# What is settled is found by its id: a scan for it would read the whole table.
_OURS_BY_INDEX = f"{_OURS} AND (settled_at IS NULL AND dispatch_at >= now() OR id = ANY(:known))"


@dataclass(frozen=True, slots=True)
class EnqueuedTask:
    """A task that a test has asked for.

    Attributes:
        written: Its arguments as JSON.
        headers: As JSON; None: there are none.
    """

    id: UUID
    name: str
    written: str = field(repr=False)
    state: TaskState
    queue: str
    priority: int
    user_id: str | None
    unique_key: str | None
    run_at: datetime
    attempt: int
    tries: int
    headers: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Its arguments, as JSON values."""
        return dict(codec.from_bytes(self.written.encode()))

    @property
    def settled(self) -> bool:
        """Whether nothing can change it any more."""
        return self.state.settled

    def __str__(self) -> str:
        said = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({said})"


_COLUMNS = """
    id, name, CAST(args AS text) AS args, state, queue, priority, user_id, unique_key, run_at,
    attempt, tries, CAST(headers AS text) AS headers"""


class Rows:
    """Reads the rows of one test.

    Args:
        all_of_them: The database is the test's own; else those of the transaction alone are.

    Attributes:
        known: Them, as they were read last, in the order in which they were asked for.
    """

    def __init__(self, *, all_of_them: bool = False) -> None:
        self.known: list[EnqueuedTask] = []
        which = "true" if all_of_them else _OURS_BY_INDEX
        self._read = Template(
            f"SELECT {_COLUMNS} FROM {{task}} WHERE {which} ORDER BY id",  # noqa: S608 - ours
            {} if all_of_them else {"known": IDS},
        )

    def reading(self) -> Statement:
        """Reads them all."""
        return self._read(known=[one.id for one in self.known])

    def take(self, records: Records) -> None:
        """They are these."""
        self.known = [_enqueued(record) for record in records]

    async def refresh(self, db: Statements) -> None:
        """Read them again."""
        self.take(await db.execute_once(self.reading()))


def _enqueued(record: Sequence[Any]) -> EnqueuedTask:
    id_, name, args, state, *others = record
    return EnqueuedTask(id_, name, args, TaskState(state), *others)


_MAKE_DUE = Template(
    "UPDATE {task} SET run_at = now() WHERE id = :id AND {unsettled} AND run_at > now()", {"id": ID}
)


async def make_due(db: Statements, task_id: UUID) -> None:
    """Let a task be due: rows move, clocks do not."""
    await db.execute_once(_MAKE_DUE(id=task_id))
