"""The three hours that the shop of `screenshots.py` has not had: what the rollup would say of them.

The numbers are drawn from a fixed seed, so that pictures of them are alike.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from uow import Database
from uow.db import rollup
from uow.db.durations import bucket_of
from uow.db.rollup import ALL, ErrorCount, Sums

MINUTES = 180

RUSH = range(22, 41)
"""Minutes ago, in which more is asked for than workers have slots for."""

SEED = 14


@dataclass(frozen=True, slots=True)
class Kind:
    """A task function, as it does on most days.

    Attributes:
        rate: Tasks a minute.
        waits, runs: Seconds, the median of each.
        trouble: The share of attempts that are tried again, and of those that fail for good.
        errors: What those have, the usual one first.
    """

    name: str
    queue: str
    rate: int
    waits: float
    runs: float
    trouble: tuple[float, float]
    errors: tuple[str, ...] = ()


KINDS = (
    Kind("payments.charge", "arq:queue", 40, 0.012, 0.180, (0.04, 0.012),
         ("TimeoutError", "CardDeclined")),
    Kind("mails.send_receipt", "mail", 38, 0.009, 0.040, (0.02, 0.004),
         ("SMTPServerDisconnected", "ConnectionResetError")),
    Kind("stock.reserve", "arq:queue", 42, 0.007, 0.006, (0.005, 0.001), ("OutOfStock",)),
    Kind("thumbnails.make", "arq:queue", 24, 0.015, 0.450, (0.01, 0.002), ("MemoryError",)),
)  # fmt: skip

_Key = tuple[datetime, str, str, str]


@dataclass(slots=True)
class _Sum:
    n: int
    waited: Counter[int]
    ran: Counter[int]


async def write_history(db: Database) -> None:
    """Add these hours to the rollup; the minute that runs is left to the worker."""
    chosen = random.Random(SEED)  # noqa: S311 - the same each time
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes: dict[_Key, _Sum] = defaultdict(lambda: _Sum(0, Counter(), Counter()))
    hours: dict[_Key, _Sum] = defaultdict(lambda: _Sum(0, Counter(), Counter()))
    errors = Counter[tuple[datetime, str, str]]()
    for ago in range(1, MINUTES):
        at = now - timedelta(minutes=ago)
        for kind, outcome, n in _of_minute(ago, chosen):
            one = _drawn(kind, outcome, n, ago, chosen)
            for row in ((kind.name, kind.queue), (ALL, kind.queue), (ALL, ALL)):
                _add(minutes[at, *row, outcome], one)
                _add(hours[at.replace(minute=0), *row, outcome], one)
            if outcome != "completed":
                for error in chosen.choices(kind.errors, [4, 1][: len(kind.errors)], k=n):
                    errors[at.replace(minute=0), kind.name, error] += 1
    await rollup.add_minutes(db, _sums(minutes))
    await rollup.add_hours(db, _sums(hours))
    await rollup.add_errors(db, [ErrorCount(*key, n) for key, n in errors.items()])


def _of_minute(ago: int, chosen: random.Random) -> Iterator[tuple[Kind, str, int]]:
    """How many attempts ended in which way; in the rush more of them badly."""
    rush = 2.1 - abs(ago - 31) / 10 if ago in RUSH else 1.0
    for kind in KINDS:
        ended = kind.rate * rush * chosen.uniform(0.75, 1.25)
        again, failed = (share * ended * rush for share in kind.trouble)
        for outcome, n in (("completed", ended), ("retry", again), ("failed", failed)):
            if whole := int(n + chosen.random()):
                yield kind, outcome, whole


def _drawn(kind: Kind, outcome: str, n: int, ago: int, chosen: random.Random) -> _Sum:
    waits = kind.waits * (1 + 25 * (1 - abs(ago - 31) / 10) if ago in RUSH else 1)
    runs = 5.0 if outcome != "completed" and kind.errors[0] == "TimeoutError" else kind.runs
    return _Sum(n, _spread(n, waits, 0.6, chosen), _spread(n, runs, 0.4, chosen))


def _spread(n: int, median: float, width: float, chosen: random.Random) -> Counter[int]:
    return Counter(bucket_of(median * chosen.lognormvariate(0, width)) for _ in range(n))


def _add(to: _Sum, one: _Sum) -> None:
    to.n += one.n
    to.waited += one.waited
    to.ran += one.ran


def _sums(found: dict[_Key, _Sum]) -> list[Sums]:
    return [Sums(*key, one.n, one.waited, one.ran) for key, one in found.items()]
