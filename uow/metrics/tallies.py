"""Counts of what has happened, by the labels that they are shown with.

They are written on the event loop, as listeners of the spine, and may be read from another thread:
what is shown then may be an event or so apart, and is never more than has happened.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from uow.attempt.telling import EndedAttempt, ended_as
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

UNKNOWN = "(unknown)"
"""The label of tasks whose name no function here has: they may be called anything."""

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

    def note(self, seconds: float, trace_id: str | None) -> None:
        """One more."""
        bucket = bisect_left(self.bounds, seconds)
        self.counts[bucket] += 1
        self.total += seconds
        if trace_id is not None:
            self.exemplars[bucket] = Exemplar(trace_id, seconds, time.time())


class TaskTally:
    """The attempts of one task function in one queue.

    Attributes:
        outcomes: How many have ended how. Those that are asked for are there from the first attempt
            on: of a series that begins with its first failure, no rate ever shows that one.
    """

    __slots__ = ("outcomes", "ran", "waited")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {"completed": 0, "retry": 0, "failed": 0}
        self.ran = Durations(RAN_SECONDS)
        self.waited = Durations(WAITED_SECONDS)

    def note(self, ended: EndedAttempt, now: float) -> None:
        """One more has ended."""
        attempt, outcome = ended
        outcomes, how = self.outcomes, ended_as(outcome)
        outcomes[how] = outcomes.get(how, 0) + 1
        headers = attempt.task.headers
        trace = trace_of(headers, sampled=True) if headers else None
        self.ran.note(now - attempt.began, trace)
        self.waited.note(attempt.waited, trace)


class Attempts:
    """Those of this process.

    Attributes:
        tallies: By task and queue.
    """

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str], TaskTally] = {}

    def listener(self, is_known: Callable[[str], bool]) -> Callable[[Sequence[EndedAttempt]], None]:
        """What counts those of a worker that has the functions which `is_known` says."""
        tallies = self.tallies

        def count(ended: Sequence[EndedAttempt]) -> None:
            now = time.time()
            for one in ended:
                task = one.attempt.task
                tally = tallies.get((task.name, task.queue))
                (tally or self._tally_of(task.name, task.queue, is_known)).note(one, now)

        return count

    def _tally_of(self, name: str, queue: str, is_known: Callable[[str], bool]) -> TaskTally:
        key = (name if is_known(name) else UNKNOWN, queue)
        if key not in self.tallies and len(self.tallies) >= MOST_TASKS:
            key = (OTHERS, OTHERS)
        return self.tallies.setdefault(key, TaskTally())


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


class Servers:
    """Whether they answer this process.

    Attributes:
        up: By server; a process that serves has had an answer from each.
    """

    def __init__(self) -> None:
        self.up: dict[str, bool] = {"postgres": True, "redis": True}

    def hear(self, event: ServerAway | ServerBack) -> None:
        """One has gone, or come back."""
        self.up[event.server] = isinstance(event, ServerBack)
