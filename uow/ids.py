"""The ids of tasks: UUIDv7, which sort in the order in which tasks are asked for.

The first 60 bits that an id says are a time, in 4,096ths of a millisecond; the rest is random. Of
one process each id is later than the one before it, whatever its clock does. What is inserted by
hand gets an id of the same shape from the table itself (a default of `task.id`).

Ids are no secret: whoever sees one knows when its task was asked for.
"""

import os
import threading
import time
from datetime import datetime
from uuid import UUID

from asyncpg.pgproto import pgproto

_PARTS = 4096
"""Of a millisecond: what the 12 bits behind an id's version can tell apart."""

_LENGTH = 36
"""Of an id as text."""

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM = (1 << 62) - 1


def new_id() -> UUID:
    """An id for a task that is asked for now."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[UUID]:
    """Ids for so many tasks, in their order."""
    first, random = _ticks.take(count), os.urandom(8 * count)
    return [_id_at(first + n, random[8 * n : 8 * n + 8]) for n in range(count)]


def made_at(id_: str) -> float | None:
    """When an id was made, in seconds since 1970; None: it is not of this shape."""
    if len(id_) != _LENGTH or id_[14] != "7":
        return None
    try:
        return int(f"{id_[:8]}{id_[9:13]}", 16) / 1000
    except ValueError:
        return None


def lowest_at(moment: datetime) -> UUID:
    """What is below every id that is made at `moment` or later, and above those made before."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=max(milliseconds, 0) << 80)


def _id_at(tick: int, random: bytes) -> UUID:
    millisecond, part = divmod(tick, _PARTS)
    tail = _VARIANT | int.from_bytes(random) & _RANDOM
    # The driver's own class: made, written and compared at a tenth of the standard one's cost.
    made: UUID = pgproto.UUID((millisecond << 80 | _VERSION | part << 64 | tail).to_bytes(16))
    return made


class _Ticks:
    """The times of ids: the clock's, but each of them once and in order."""

    def __init__(self) -> None:
        self._last = 0
        self.unlock()
        # Another thread may have it at that moment, which the child does not have.
        os.register_at_fork(after_in_child=self.unlock)

    def unlock(self) -> None:
        """Nobody is taking any."""
        self._lock = threading.Lock()

    def take(self, count: int) -> int:
        """The first of so many that follow each other."""
        now = time.time_ns() * _PARTS // 1_000_000
        with self._lock:
            first = max(now, self._last + 1)
            self._last = first + count - 1
        return first


_ticks = _Ticks()
