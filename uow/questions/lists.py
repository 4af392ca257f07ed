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
from uow.db.lists import Along
from uow.db.statement import Statements
from uow.errors import InvalidFilter
from uow.questions import places
from uow.questions.by_argument import fit
from uow.questions.filters import TaskFilter
from uow.questions.places import Place
from uow.questions.redaction import Redaction
from uow.questions.walk import Walk

MOST = 200
"""Tasks of one page."""

CANDIDATES = 1000
"""Rows that are read at once to compare their arguments."""

MOST_LOOKS = WINDOW // CANDIDATES
"""How often so many are read for one page."""

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
            page = await self._page(transaction, wanted, direction, place, limit)
        return page.forwards(is_first=after is None) if before is None else page.backwards()

    async def _page(
        self,
        run: Statements,
        wanted: TaskFilter,
        direction: Direction,
        place: Place | None,
        limit: int,
    ) -> "_Page":
        most = max(limit + 1, CANDIDATES) if wanted.arguments else limit + 1
        rows: list[Seen] = []
        looked_at = 0
        # Once, but for arguments: where a page ends must not tell what the rows had in them that
        # were put aside here.
        for _ in range(MOST_LOOKS):
            walk = Walk(run, wanted, place, Along(direction, most, looked_at), utcnow())
            rows += [row for row in await walk.rows() if self._fits(row, wanted)]
            end = walk.end
            if end is None or end.of_window or len(rows) > limit:
                break
            looked_at += end.looked_at
            place = places.place_of(end.row, walk.order)
        return _Page(walk, rows, limit, looked_at)

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
        walk: That has found it, or the last of several.
        rows: In its order, those that fit; more than `limit`, should there be more.
        limit: Tasks of the page.
        looked_at: Rows that were looked at before that walk.
    """

    def __init__(self, walk: Walk, rows: Sequence[Seen], limit: int, looked_at: int) -> None:
        self._walk = walk
        self._looked_at = looked_at
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
        return None if self._walk.end is None else self._text(self._walk.end.row)

    def _looked(self) -> tuple[int | None, datetime | None]:
        end = None if self._has_more else self._walk.end
        if end is not None:
            moment = None if end.row.task is None else end.row.task.created_at
            return self._looked_at + end.looked_at, end.row.tick or moment
        return (WINDOW if self._walk.is_part else None), None

    def _text(self, row: Seen) -> str:
        return places.written(places.place_of(row, self._walk.order))
