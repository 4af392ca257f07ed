"""Lists of tasks: exact, or with how far was looked.

By keyset, from the newest to the oldest, or the other way round. A list has one driver, the first
of schedule, user, error, state and id that a filter gives; all else is looked at in the rows that
it leads to, up to a bound. What has ended at that bound says so, and goes on there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from uow.broker import codec
from uow.clock import utcnow
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.listing import WINDOW, Direction, ListedTask, Seen
from uow.errors import InvalidFilter
from uow.questions import places
from uow.questions.by_argument import fit
from uow.questions.filters import TaskFilter
from uow.questions.redaction import Redaction
from uow.questions.walk import Walk

MOST = 200
"""Tasks of one page."""

_OPPOSITE: dict[Direction, Direction] = {"newest": "oldest", "oldest": "newest"}


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A part of a list.

    Attributes:
        tasks: In the order that was asked for.
        next: Where the list goes on; None: here it ends.
        previous: What is before it ends there; None: nothing is known to be.
        looked_at: The rows that were looked at before it was given up; None: it is exact.
        looked_down_to: Up to which moment, then; None: the rows were not in the order of time.
    """

    tasks: tuple[ListedTask, ...]
    next: str | None = None
    previous: str | None = None
    looked_at: int | None = None
    looked_down_to: datetime | None = None


class TaskLists:
    """Lists tasks.

    Args:
        db: The database with the table `task`.
        redaction: What nobody is to see, nor to look for.
    """

    def __init__(self, db: Database, redaction: Redaction) -> None:
        self._db = db
        self._redaction = redaction

    async def page(
        self,
        wanted: TaskFilter,
        *,
        limit: int = 50,
        order: Direction = "newest",
        after: str | None = None,
        before: str | None = None,
    ) -> TaskPage:
        """Some of the tasks that are meant.

        Args:
            limit: How many at most, 1 to `MOST`.
            order: With what the list begins.
            after: Where it goes on: `TaskPage.next` of the page before.
            before: Where it ends: `TaskPage.previous` of the page after.

        Raises:
            InvalidFilter: A value does not fit, or an argument is looked for that is redacted.
            asyncpg.QueryCanceledError: A statement took longer than 5 s.
        """
        self._check(wanted, limit, after, before)
        given = before or after
        place = None if given is None else places.read(given, places.order_of(wanted))
        direction = order if before is None else _OPPOSITE[order]
        async with bounded_reading(self._db) as transaction:
            walk = Walk(transaction, wanted, direction, place, limit, utcnow())
            rows = await walk.rows()
        page = _Page(walk, [row for row in rows if self._fits(row, wanted)], limit)
        return page.forwards(is_first=after is None) if before is None else page.backwards()

    def _check(self, wanted: TaskFilter, limit: int, after: str | None, before: str | None) -> None:
        if not 1 <= limit <= MOST:
            raise InvalidFilter(f"limit={limit} is not a number from 1 to {MOST}")
        if after is not None and before is not None:
            raise InvalidFilter("give after or before, not both")
        self._redaction.refuse_hidden(wanted)

    def _fits(self, row: Seen, wanted: TaskFilter) -> bool:
        if not row.fits or row.task is None or not wanted.arguments:
            return row.fits and row.task is not None
        arguments = codec.from_bytes(row.task.args)
        return fit(self._redaction.arguments(row.task.name, arguments), wanted.arguments)


class _Page:
    """What was found, as a page.

    Args:
        walk: That has found it.
        rows: In its order, those that fit; one more than `limit`, should there be more.
        limit: Tasks of the page.
    """

    def __init__(self, walk: Walk, rows: Sequence[Seen], limit: int) -> None:
        self._walk = walk
        shown = list(rows[:limit])
        if walk.order == "ticks":  # two services may have a tick at one moment: it is one place
            shown += [row for row in rows[limit:] if row.tick == shown[-1].tick]
        self._shown = shown
        self._has_more = len(rows) > len(shown)

    def forwards(self, *, is_first: bool) -> TaskPage:
        """A page in the direction of the walk."""
        first = None if is_first or not self._shown else self._text(self._shown[0])
        return self._page(self._shown, following=self._goes_on, previous=first)

    def backwards(self) -> TaskPage:
        """A page against the direction of the walk."""
        last = self._text(self._shown[0]) if self._shown else None
        return self._page(self._shown[::-1], following=last, previous=self._goes_on)

    def _page(
        self, rows: Sequence[Seen], *, following: str | None, previous: str | None
    ) -> TaskPage:
        tasks = tuple(row.task for row in rows if row.task is not None)
        looked_at, down_to = self._looked()
        return TaskPage(tasks, following, previous, looked_at, down_to)

    @property
    def _goes_on(self) -> str | None:
        if self._has_more:
            return self._text(self._shown[-1])
        return None if self._walk.end is None else self._text(self._walk.end)

    def _looked(self) -> tuple[int | None, datetime | None]:
        end = None if self._has_more else self._walk.end
        if end is not None:
            moment = end.tick if end.task is None else end.task.created_at
            return end.place, end.tick or moment
        return (WINDOW if self._walk.is_part else None), None

    def _text(self, row: Seen) -> str:
        return places.written(places.place_of(row, self._walk.order))
