"""Counts of what has happened, by the labels that they are shown with.

They are listeners of the spine, on the event loop, and are read from another thread: what is shown
may be an event or so apart, and is never more than has happened.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from uow.attempt.telling import EndedAttempt, ended_as
from uow.events.processes import ServerAway, ServerBack, TickMissed
from uow.tasks.outcome import Completed
from uow.telemetry.subject import trace_of

RAN_SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip
"""From a task that only writes a row, which takes milliseconds, to half an hour: steps of two to
six, finer where most tasks are. The bounds of ten seconds and less are Prometheus's own defaults,
so that they lie beside those of an API in one plot."""

WAITED_SECONDS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
)  # fmt: skip
"""A free worker starts what is due within tens of milliseconds; from there to an hour's backlog."""

OTHERS = "(other)"
"""The label of what comes when there are enough labels."""

UNKNOWN = "(unknown)"
"""The label of tasks whose name no function here has: they may be called anything."""

MOST_TASKS = 2_000
"""Pairs of task function and queue that are told apart."""

MOST_SCHEDULES = 1_000


TOGETHER = 256
"""So many ended attempts are counted at once; or fewer, when somebody asks."""


_Ended = tuple[str, str, str, float, float, float, Mapping[str, str], Callable[[str], bool]]
"""What is counted of an attempt: task, queue, outcome, when it began and ended, how long it waited,
its headers, and who knows its function. Not what it was given and has returned; and no class, which
would take as long to make as all the rest."""


class Exemplar(NamedTuple):
    """A trace in which something took so long.

    Attributes:
        at: When, in seconds since 1970.
    """

    trace_id: str
    seconds: float
    at: float


class Durations:
    """How many were how long.

    Attributes:
        counts: Of each bucket alone; the last one has no bound.
        total: Seconds, all together.
        exemplars: The last one of each bucket whose trace is kept.
    """

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def note(self, seconds: float, trace_id: str | None, at: float) -> None:
        """One more; a clock that was set back makes it none, and no sum smaller."""
        seconds = max(seconds, 0.0)
        bucket = bisect_left(self.bounds, seconds)
        self.counts[bucket] += 1
        self.total += seconds
        if trace_id is not None:
            self.exemplars[bucket] = Exemplar(trace_id, seconds, at)


class TaskTally:
    """The attempts of one task function in one queue.

    Attributes:
        outcomes: How many have ended how. Those that are asked for are there from the first attempt
            on: of a series that begins with its first failure, no rate ever shows that one.
    """

    __slots__ = ("outcomes", "ran", "waited")

    def __init__(self) -> None:
        self.outcomes = Counter[str](completed=0, retry=0, failed=0)
        self.ran = Durations(RAN_SECONDS)
        self.waited = Durations(WAITED_SECONDS)

    def note(self, ended: _Ended) -> None:
        """One more has ended."""
        _, _, outcome, began, at, waited, headers, _ = ended
        self.outcomes[outcome] += 1
        trace = trace_of(headers, sampled=True) if headers else None
        self.ran.note(at - began, trace, at)
        self.waited.note(waited, trace, at)


class AttemptTally:
    """Those of this process.

    What ends is only noted at first: to count many together costs less than to count each between
    two tasks, when nothing of this is in the processor's caches.
    """

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], TaskTally] = {}
        self._ended: deque[_Ended] = deque()
        self._counting = threading.Lock()

    def listener(self, is_known: Callable[[str], bool]) -> Callable[[Sequence[EndedAttempt]], None]:
        """What hears of those of a worker that has the functions which `is_known` says."""
        noted, append = self._ended, self._ended.append

        def note(ended: Sequence[EndedAttempt]) -> None:
            now = time.time()
            for attempt, outcome in ended:
                task = attempt.task
                how = "completed" if type(outcome) is Completed else ended_as(outcome)
                append((task.name, task.queue, how, attempt.began, now, attempt.waited,
                        task.headers, is_known))  # fmt: skip
            if len(noted) >= TOGETHER:
                self.count()

        return note

    def count(self) -> list[tuple[tuple[str, str], TaskTally]]:
        """Count what has ended; returns all tallies, by task and queue. From any thread."""
        with self._counting:
            while self._ended:
                one = self._ended.popleft()
                (self._tallies.get(one[:2]) or self._tally_of(one)).note(one)
            return [*self._tallies.items()]

    def _tally_of(self, ended: _Ended) -> TaskTally:
        name, queue, *_, is_known = ended
        key = (name if is_known(name) else UNKNOWN, queue)
        if key not in self._tallies and len(self._tallies) >= MOST_TASKS:
            key = (OTHERS, OTHERS)
        return self._tallies.setdefault(key, TaskTally())


class Missed:
    """How often ticks of schedules were missed: once for each gap, however many ticks are in it.

    Attributes:
        counts: By schedule.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def expect(self, schedules: Iterable[str]) -> None:
        """These may be missed: none is, so far."""
        for schedule in schedules:
            self._add(schedule, 0)

    def hear(self, missed: TickMissed) -> None:
        """One more."""
        self._add(missed.schedule, 1)

    def _add(self, schedule: str, times: int) -> None:
        counts = self.counts
        if schedule not in counts and len(counts) >= MOST_SCHEDULES:
            schedule = OTHERS
        counts[schedule] = counts.get(schedule, 0) + times


class ServersUp:
    """Whether they answer this process.

    Attributes:
        up: By server; a process that serves has had an answer from each.
    """

    def __init__(self) -> None:
        self.up: dict[str, bool] = {"postgres": True, "redis": True}

    def hear(self, event: ServerAway | ServerBack) -> None:
        """One has gone, or come back."""
        self.up[event.server] = isinstance(event, ServerBack)
