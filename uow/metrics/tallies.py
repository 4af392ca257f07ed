"""Counts of what has happened, by the labels that they are shown with.

They are counted on the event loop, or by the thread that asks for them, and may be counted on while
they are read: two numbers may be some attempts apart, and neither is more than has happened.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

from uow.attempt.notes import EndedAlike
from uow.events.processes import ServerAway, ServerBack, TickMissed
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

MOST_TASKS = 2_000
"""Pairs of task function and queue that are told apart."""

MOST_SCHEDULES = 1_000


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

    def note(self, seconds: Sequence[float]) -> None:
        """So many more; a clock that was set back makes one none, and no sum smaller."""
        if min(seconds) < 0.0:
            seconds = [max(one, 0.0) for one in seconds]
        for bucket, count in Counter(map(bisect_left, repeat(self.bounds), seconds)).items():
            self.counts[bucket] += count
        self.total += sum(seconds)

    def show(self, trace_id: str, seconds: float, at: float) -> None:
        """One of these was in a trace that is kept."""
        seconds = max(seconds, 0.0)
        self.exemplars[bisect_left(self.bounds, seconds)] = Exemplar(trace_id, seconds, at)


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

    def note(self, ended: EndedAlike) -> None:
        """These have ended, too."""
        self.outcomes[ended.outcome] += len(ended.ran)
        self.ran.note(ended.ran)
        self.waited.note(ended.waited)
        if any(ended.headers):
            self._show(ended)

    def _show(self, ended: EndedAlike) -> None:
        for headers, waited, ran, at in zip(
            ended.headers, ended.waited, ended.ran, ended.at, strict=True
        ):
            if (trace := trace_of(headers, sampled=True)) is not None:
                self.ran.show(trace, ran, at)
                self.waited.show(trace, waited, at)


class AttemptTally:
    """Those of this process, whose workers may have a thread each."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], TaskTally] = {}
        self._counting = threading.Lock()

    def count(self, ended: Sequence[EndedAlike]) -> None:
        """These have ended, too."""
        with self._counting:
            for those in ended:
                (self._tallies.get(those[:2]) or self._new(*those[:2])).note(those)

    def all(self) -> list[tuple[tuple[str, str], TaskTally]]:
        """All tallies, by task and queue. From any thread."""
        with self._counting:
            return [*self._tallies.items()]

    def _new(self, name: str, queue: str) -> TaskTally:
        key = (name, queue) if len(self._tallies) < MOST_TASKS else (OTHERS, OTHERS)
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
