"""Notes attempts as they end, for whoever counts them: many are counted at once.

Of each attempt one tuple is noted. To count it there and then, between two tasks, would take
several times as long: nothing of the counting is in the processor's caches. And what has ended
alike is told together: whoever counts looks once for where, and leaves the rest to C.
"""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from uow.attempt.telling import EndedAttempt, ended_as, error_of
from uow.events.spine import Spine
from uow.tasks.outcome import Completed, Outcome
from uow.telemetry.description import type_of

TOGETHER = 256
"""So many are told at once; or fewer, when somebody asks."""

UNKNOWN = "(unknown)"
"""The name of tasks that no function here has: they may be called anything."""

_COMPLETED = ("completed", None)

_Noted = tuple[str, str, str, float, float, str | None, Mapping[str, str], float]
"""Name, queue and outcome, and what `EndedAlike` has of each. Not what an attempt was given and has
returned; and no class, which would take as long to make as all the rest."""


class EndedAlike(NamedTuple):
    """Attempts of one task function in one queue that have ended by one outcome, in their order.

    Attributes:
        name: Of the function, or `UNKNOWN`.
        waited: Seconds of each from when its task was due until it began.
        ran: Seconds of each until its outcome was written.
        error_types: What each has failed by; None: it has not.
        headers: What travels with the task of each.
        at: When each has ended, in seconds since 1970.
    """

    name: str
    queue: str
    outcome: str
    waited: Sequence[float]
    ran: Sequence[float]
    error_types: Sequence[str | None]
    headers: Sequence[Mapping[str, str]]
    at: Sequence[float]


class Notes:
    """Of one worker.

    Args:
        events: The worker's; nothing has happened yet.
        is_known: Says whether it has a task function of that name.
    """

    def __init__(self, events: Spine, is_known: Callable[[str], bool]) -> None:
        self._events, self._is_known = events, is_known
        self._noted: list[_Noted] = []
        self._counting = threading.Lock()
        events.listen_to_batches(self._listener(), EndedAttempt)

    def listen(self, counter: Callable[[Sequence[EndedAlike]], object]) -> None:
        """Call `counter` with what has ended; on the thread of whoever asks, one at a time."""
        self._events.listen_to_batches(counter, EndedAlike)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """All that has ended is counted, and while the block runs no more is. From any thread."""
        with self._counting:
            self._tell()
            yield

    def count(self) -> None:
        """Have counted all that has ended. From any thread."""
        with self.counted():
            pass

    def _listener(self) -> Callable[[Sequence[EndedAttempt]], None]:
        noted, append, clock = self._noted, self._noted.append, time.time

        def note(ended: Sequence[EndedAttempt]) -> None:
            now = clock()
            for attempt, outcome in ended:
                task = attempt.task
                how, error_type = _COMPLETED if type(outcome) is Completed else _told(outcome)
                append((task.name, task.queue, how, attempt.waited, now - attempt.began,
                        error_type, task.headers, now))  # fmt: skip
            if len(noted) >= TOGETHER:
                with self._counting:
                    self._tell()

        return note

    def _tell(self) -> None:
        taken = len(self._noted)  # more may come meanwhile, if this is another thread
        groups: dict[tuple[str, str, str], list[_Noted]] = defaultdict(list)
        for one in self._noted[:taken]:
            groups[one[:3]].append(one)
        del self._noted[:taken]
        self._events.emit_all([self._alike(*key, those) for key, those in groups.items()])

    def _alike(self, name: str, queue: str, outcome: str, those: list[_Noted]) -> EndedAlike:
        _, _, _, *columns = zip(*those, strict=True)
        return EndedAlike(name if self._is_known(name) else UNKNOWN, queue, outcome, *columns)


def _told(outcome: Outcome | None) -> tuple[str, str | None]:
    """The outcome in a word, and the type of its error."""
    error = error_of(outcome)
    return ended_as(outcome), None if error is None else type_of(error)
