"""Places in a list: where it goes on, as a text that a page or a command hands back.

Most lists are in the order of ids; one by errors is in that of the errors, one by a schedule in
that of its ticks.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from uow.db.listing import Arm, Direction, Seen
from uow.db.lists import Stretch
from uow.errors import InvalidFilter
from uow.ids import lowest_at
from uow.questions.filters import TaskFilter

Place = UUID | int | datetime
"""Of a row in a list: its id, its error's id, or its tick."""

Order = Literal["ids", "errors", "ticks"]
"""What a list is in the order of."""

LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)

AHEAD = timedelta(hours=1)
"""How far ahead the clock of whoever has made an id may be."""

MARGIN = timedelta(minutes=5)
"""How far an id and `created_at` of one row may be apart."""


def order_of(wanted: TaskFilter) -> Order:
    """What the list of these tasks is in the order of."""
    if wanted.schedule is not None:
        return "ticks"
    return "errors" if wanted.error is not None and wanted.user is None else "ids"


def place_of(row: Seen, order: Order) -> Place:
    """Where a row is."""
    if order == "errors":
        assert row.error_id is not None  # noqa: S101 - each row of such a list has one
        return row.error_id
    if order == "ticks":
        assert row.tick is not None  # noqa: S101
        return row.tick
    assert row.task is not None  # noqa: S101
    return row.task.id


def written(place: Place) -> str:
    """A place as text."""
    match place:
        case UUID():
            return str(place)
        case int():
            return f"e{place}"
    return place.isoformat().replace("+00:00", "Z")


def read(given: str, order: Order) -> Place:
    """The place that a text means.

    Raises:
        InvalidFilter: None in a list of this order.
    """
    try:
        if order == "ids":
            return UUID(given)
        if order == "errors" and given.startswith("e"):
            return _error_id(int(given[1:19]))
        if order == "ticks" and given.endswith("Z"):
            return datetime.fromisoformat(given).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidFilter(
        f"{given[:80]!r} is no place in this list: take the one that a list of the same filter "
        "has given"
    )


def _error_id(given: int) -> int:
    if given < 0:
        raise ValueError
    return given


@dataclass(frozen=True, slots=True)
class Span:
    """Where in the order of ids a list goes: first the ids of now, then those of older kinds.

    Those are random, and nearly all of them above `start`: they come last, as the oldest.

    Attributes:
        stretch: What is left of each.
        direction: With what the list begins.
    """

    stretch: Stretch
    direction: Direction

    @classmethod
    def of(
        cls, wanted: TaskFilter, direction: Direction, after: UUID | None, now: datetime
    ) -> "Span":
        """What is left of a list behind `after`; None: all of it."""
        start = lowest_at(now + AHEAD)
        low, high, old_low, old_high = LOWEST, start, start, HIGHEST
        if after is not None:
            old = after > start
            if direction == "newest":
                high, old_high = (LOWEST, after) if old else (after, HIGHEST)
            else:
                low, old_low = (LOWEST, after) if old else (after, HIGHEST)
        if wanted.since is not None:
            low = max(low, lowest_at(wanted.since - MARGIN))
        for end in filter(None, (wanted.until, wanted.settled_until)):
            high = min(high, lowest_at(end + MARGIN))
        return cls(Stretch(low, high, old_low, old_high, start), direction)

    def arms(self, *keys: str) -> list[Arm]:
        """The arms of each key, in the order of the list."""
        here = self.stretch
        of_now, of_old = (here.low, here.high), (here.old_low, here.old_high)
        parts = (of_now, of_old) if self.direction == "newest" else (of_old, of_now)
        return [Arm(low, high, key) for key in keys for low, high in parts if low < high]

    def has(self, id_: UUID) -> bool:
        """Whether an id is in what is left."""
        here = self.stretch
        return here.low < id_ < here.high or here.old_low < id_ < here.old_high

    def key(self, id_: UUID) -> tuple[bool, int]:
        """By which rows are sorted into the order of the list."""
        old, number = id_ > self.stretch.start, id_.int
        return (old, -number) if self.direction == "newest" else (not old, number)
