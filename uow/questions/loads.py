"""What waits, runs and ends, put together by queue or by task function."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from uow.db.backlog import LOOKED_AT
from uow.db.load import MOST_RUNNING, RunningTasks, TaskLoad, WaitingTasks
from uow.db.rates import By, Span, SummedPoint, SummedRates
from uow.questions.number import Number, Percentiles, Rates, Source, added

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Load:
    """What waits, runs and ends in a queue, or of a task function.

    Attributes:
        name: The queue's, or the task function's.
        waiting: Due, and not running.
        oldest_seconds: For which one of them has waited; None: none waits.
        later: Not due yet.
        running: As processes said in their last heartbeats; rowless ones are not among them.
        longest_seconds: For which one of them has run; None: none runs.
        in_redis: Jobs of the queue; None: of a name, or Redis does not say.
        rates: Of the last minute, hour and day in which anything has ended.
    """

    name: str
    waiting: Number
    oldest_seconds: Number | None
    later: Number
    running: Number
    longest_seconds: Number | None
    in_redis: Number | None
    rates: dict[Span, Rates]


@dataclass(frozen=True, slots=True)
class RatePoint:
    """What has ended in a minute, an hour or a day (of UTC).

    Attributes:
        at: Its beginning.
        ended: Attempts by outcome.
    """

    at: datetime
    ended: dict[str, int]
    waited: Percentiles
    ran: Percentiles
    source: Literal["rollup"] = "rollup"


class FoundLoads:
    """What was found, by queue or by name.

    Args:
        by: Which of the two.
        queue: Of this one alone.
        name: Of this one alone.
    """

    def __init__(
        self,
        tasks: TaskLoad,
        ended: Iterable[SummedRates],
        by: By,
        *,
        queue: str | None = None,
        name: str | None = None,
    ) -> None:
        self._of_waiting = mark_of_waiting(tasks.waiting)
        self._of_running = _mark_of_running(tasks.running)

        def fits(one: WaitingTasks | RunningTasks) -> bool:
            return queue in (None, one.queue) and name in (None, one.name)

        def key(one: WaitingTasks | RunningTasks) -> str:
            return one.queue if by == "queue" else one.name

        self.waiting = grouped(filter(fits, tasks.waiting), key)
        self.running = grouped(filter(fits, tasks.running), key)
        self.ended = grouped(ended, lambda one: one.key)

    def loads(self, *others: str) -> list[Load]:
        """That of each, and of `others`, by name."""
        keys = {*self.waiting, *self.running, *self.ended, *others}
        return [self.load_of(one) for one in sorted(keys)]

    def load_of(self, key: str) -> Load:
        """That of one queue or name."""
        waiting, running = self.waiting.get(key, ()), self.running.get(key, ())
        return Load(
            name=key,
            waiting=Number(sum(one.due for one in waiting), self._of_waiting),
            oldest_seconds=_longest((one.oldest for one in waiting), self._of_waiting),
            later=Number(sum(one.later for one in waiting), self._of_waiting),
            running=Number(sum(one.running for one in running), self._of_running),
            longest_seconds=_longest((one.longest for one in running), self._of_running),
            in_redis=None,
            rates=rates_of(self.ended.get(key, ())),
        )


def grouped(those: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    """By what `key` says of each."""
    found: dict[str, list[T]] = {}
    for one in those:
        found.setdefault(key(one), []).append(one)
    return found


def mark_of_waiting(found: Sequence[WaitingTasks]) -> Source:
    """How far what waits was looked at: exact, if neither half has more than was looked at."""
    halves = [sum(one.looked_at for one in found if one.pushed is half) for half in (False, True)]
    return "capped" if max(halves) >= LOOKED_AT else "exact"


def _mark_of_running(found: Sequence[RunningTasks]) -> Source:
    return "capped" if sum(one.running for one in found) >= MOST_RUNNING else "exact"


def _longest(seconds: Iterable[float | None], source: Source) -> Number | None:
    known = [one for one in seconds if one is not None]
    return Number(round(max(known), 3), source) if known else None


def rates_of(ended: Sequence[SummedRates]) -> dict[Span, Rates]:
    """What has ended in the last minute, hour and day."""
    by_span = grouped(ended, lambda one: one.span)
    taking: dict[Span, Sequence[SummedRates]] = {
        "minute": by_span.get("minute", ()),
        "hour": by_span.get("recent", ()),
        "day": by_span.get("day", ()),
    }
    return {
        span: _rates_of(span, by_span[span], taking[span]) for span in taking if span in by_span
    }


def _rates_of(span: Span, those: Sequence[SummedRates], taking: Sequence[SummedRates]) -> Rates:
    """Of one span; `taking` says how long it took."""
    since, until = those[0].since, those[0].until
    ended = Counter[str]()
    for one in those:
        ended[one.outcome] += one.n
    return Rates(
        span=span,
        since=since,
        until=until,
        ended=dict(ended),
        per_second=ended.total() / (until - since).total_seconds(),
        waited=Percentiles.of_buckets(added(one.waited or () for one in taking)),
        ran=Percentiles.of_buckets(added(one.ran or () for one in taking)),
        source="rollup",
    )


def point_of(at: datetime, those: Sequence[SummedPoint | SummedRates]) -> RatePoint:
    """What has ended in one time."""
    return RatePoint(
        at=at,
        ended={one.outcome: one.n for one in those},
        waited=Percentiles.of_buckets(added(one.waited or () for one in those)),
        ran=Percentiles.of_buckets(added(one.ran or () for one in those)),
    )
