"""A look along the driver of a filter: which statements a list takes, and how far they saw."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TypeVar
from uuid import UUID

from uow.db import lists, lists_of_marks
from uow.db.listing import WINDOW, WINDOW_OF_KEY, Fit, Seen
from uow.db.lists import Along
from uow.db.models import TaskState
from uow.db.statement import Statements
from uow.questions import places
from uow.questions.by_argument import needles_of
from uow.questions.filters import TaskFilter
from uow.questions.places import Order, Place, Span

T = TypeVar("T", int, datetime)

_ENDED = (TaskState.FAILED, TaskState.CANCELLED)
_WAITING = {TaskState.QUEUED, TaskState.SCHEDULED, TaskState.RETRYING}
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class End:
    """Where an arm was left.

    Attributes:
        of_window: There its window ended; if not, it had told as many rows as it may.
        looked_at: Rows of its window so far.
    """

    row: Seen
    of_window: bool
    looked_at: int


class Walk:
    """A look along the driver of a filter.

    Attributes:
        order: Of the list.
        ends: Where arms were left of which more is there: behind the first of them, in the order
            of the list, nothing is known.
        is_part: Of the tasks that are not pushed, only those that are due first were looked at.
    """

    def __init__(
        self,
        transaction: Statements,
        wanted: TaskFilter,
        after: Place | None,
        along: Along,
        now: datetime,
    ) -> None:
        self._transaction = transaction
        self._wanted = wanted
        self._after = after
        self._along = along
        self._fit = _fit_of(wanted)
        id_ = after if isinstance(after, UUID) else None
        self._span = Span.of(wanted, along.direction, id_, now)
        self.order: Order = places.order_of(wanted)
        self.ends: list[End] = []
        self.is_part = False

    async def rows(self) -> list[Seen]:
        """What was found, in the order of the list, as far as it is known."""
        found = sorted((row for row in await self._found() if row.fits), key=self.key)
        if (end := self.end) is not None:
            found = [row for row in found if self.key(row) <= self.key(end.row)]
        return list(_once(found))

    @property
    def end(self) -> "End | None":
        """Behind which nothing is known; None: all of the list was seen."""
        return min(self.ends, key=lambda end: self.key(end.row), default=None)

    def key(self, row: Seen) -> tuple[float, ...]:
        """By which rows are in the order of the list."""
        sign = -1 if self._along.direction == "newest" else 1
        match places.place_of(row, self.order):
            case UUID() as id_:
                return self._span.key(id_)
            case int() as error_id:
                return (sign * error_id,)
            case datetime() as tick:
                return (sign * tick.timestamp(),)
        raise AssertionError

    async def _found(self) -> Sequence[Seen]:
        wanted, run, fit, along = self._wanted, self._transaction, self._fit, self._along
        if wanted.schedule is not None:
            return await self._ticks(wanted.schedule)
        if wanted.user is not None:
            arms = self._span.arms(wanted.user)
            return self._left(await lists.by_user(run, arms, fit, along), WINDOW_OF_KEY)
        if wanted.error is not None:
            return await self._errors()
        if wanted.states and TaskState.SUCCEEDED not in wanted.states:
            return await self._in_states(wanted.states)
        return self._left(await lists.by_id(run, self._span.arms(""), fit, along), WINDOW)

    async def _in_states(self, states: frozenset[TaskState]) -> Sequence[Seen]:
        run, fit, along, span = self._transaction, self._fit, self._along, self._span
        found: list[Seen] = []
        if ended := [state for state in _ENDED if state in states]:
            rows = await lists.ended(run, span.arms(*ended), fit, along)
            found += self._left(rows, WINDOW_OF_KEY)
        if states & _WAITING:  # and what runs, which has been pushed
            found += self._left(await lists.pushed(run, span.arms(""), fit, along), WINDOW)
            one_more = replace(along, most=along.most + 1)  # which may say that there are more
            found += self._unpushed(await lists.unpushed(run, span.stretch, fit, one_more))
        elif TaskState.RUNNING in states:
            found += self._left(await lists.running(run, span.stretch, fit, along), WINDOW)
        return found

    async def _errors(self) -> Sequence[Seen]:
        above, below = self._between(-1, 2**63 - 1)
        rows = await lists_of_marks.by_error(
            self._transaction, self._fit, self._along, above=above, below=below
        )
        return self._left(rows, WINDOW_OF_KEY)

    async def _ticks(self, schedule: str) -> Sequence[Seen]:
        above, below = self._between(_FIRST, _LAST)
        rows = await lists_of_marks.by_schedule(
            self._transaction, schedule, self._fit, self._along, above=above, below=below
        )
        return self._left(rows, WINDOW_OF_KEY)

    def _between(self, lowest: T, highest: T) -> tuple[T, T]:
        """What is left of the list, by its places."""
        after: T | None = self._after  # type: ignore[assignment] # `places.read` knows the order
        if self._along.direction == "newest":
            return lowest, highest if after is None else after
        return lowest if after is None else after, highest

    def _left(self, rows: Sequence[Seen], window: int) -> Sequence[Seen]:
        """The rows of arms; where one was left before its end is noted."""
        for _, arm in groupby(rows, key=lambda row: row.arm):
            *_, last = of_arm = list(arm)
            is_all = last.place == self._along.left_of(window)
            if is_all or len(of_arm) == self._along.most:
                self.ends.append(End(last, is_all, last.place))
        return rows

    def _unpushed(self, rows: Sequence[Seen]) -> Sequence[Seen]:
        """Those that are in the list; the first may only say that there are more."""
        if rows and rows[0].place == WINDOW:
            self.is_part = True
            first = rows[0].task
            rows = rows if first is not None and self._span.has(first.id) else rows[1:]
        if len(rows) >= self._along.most:
            self.ends.append(End(max(rows, key=self.key), of_window=False, looked_at=0))
        return rows


def _fit_of(wanted: TaskFilter) -> Fit:
    return Fit(
        states=[*wanted.states] or None,
        exact_name=wanted.exact_name,
        prefix=wanted.prefix,
        queue=wanted.queue,
        user=wanted.user,
        worker=wanted.worker,
        since=wanted.since,
        until=wanted.until,
        settled_since=wanted.settled_since,
        settled_until=wanted.settled_until,
        error=wanted.error,
        needles=needles_of(wanted.arguments),
    )


def _once(rows: Iterable[Seen]) -> Iterator[Seen]:
    """Each task once: its state may have changed from one statement to the next."""
    seen = set()
    for row in rows:
        if row.task is not None and row.task.id not in seen:
            seen.add(row.task.id)
            yield row
