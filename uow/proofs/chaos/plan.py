"""What will be done to whom and when: options and a seed, and the faults that follow from them."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

KILLS_PER_SECOND = 1.0
TASKS_PER_SECOND = 80.0
"""Half of what two cores can do, so that the backlog of a fault is worked off before the end."""

SECONDS_PER_SERVER_FAULT = 2.0
"""A server that hardly ever serves proves nothing about what happens in between."""

REDIS_AWAY_SECONDS = 2.0
POSTGRES_AWAY_SECONDS = 1.5
"""How long a server stays away at most; the seed decides."""

PATIENCE_SECONDS = 120.0

BASELINE_PATIENCE_SECONDS = 330.0
"""Stock arq locks a job for the 310 s that its longest might take. Only then those of a killed
worker run again, and what that repeats is seen."""

EVERY_THIRD = 3
"""Of the faults of a server, one in three leaves it or its clients alive: see `FaultKind`."""


class FaultKind(StrEnum):
    """What can happen."""

    KILL = "kill"
    """SIGKILL to a worker; another takes its place at once."""
    STOP = "stop"
    """SIGSTOP to a worker, SIGCONT later: it comes back and believes that no time has passed."""
    REDIS_KILL = "redis kill"
    """SIGKILL to Redis, which comes back empty."""
    REDIS_FLUSH = "redis flush"
    """Redis loses its data and no connection ends, so that nobody is told."""
    POSTGRES_CRASH = "postgres crash"
    """SIGKILL to Postgres and its backends, then recovery."""
    POSTGRES_RESTART = "postgres restart"
    """Postgres ends every connection in good order and starts again."""


@dataclass(frozen=True, slots=True, order=True)
class PlannedFault:
    """One fault.

    Attributes:
        at: Seconds after the first task.
        worker: Which of the workers, for `KILL` and `STOP`.
        seconds: How long the worker or the server is away.
    """

    at: float
    kind: FaultKind
    worker: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        whom = f" worker {self.worker}" if self.kind in (FaultKind.KILL, FaultKind.STOP) else ""
        away = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}{whom}{away}"


class Done(Counter[FaultKind]):
    """How many faults of each kind were done."""

    @property
    def kills(self) -> int:
        """Workers killed."""
        return self[FaultKind.KILL]

    @property
    def stops(self) -> int:
        """Workers frozen."""
        return self[FaultKind.STOP]

    @property
    def redis_losses(self) -> int:
        """Times that Redis forgot all."""
        return self[FaultKind.REDIS_KILL] + self[FaultKind.REDIS_FLUSH]

    @property
    def postgres_restarts(self) -> int:
        """Times that Postgres ended and came back."""
        return self[FaultKind.POSTGRES_CRASH] + self[FaultKind.POSTGRES_RESTART]


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What is done to whom and when. The same plan makes the same faults at the same times.

    Attributes:
        seconds: How long faults happen.
        workers: How many there are to be killed and frozen.
        stop_seconds: How long a frozen worker stays frozen.
    """

    seed: int
    seconds: float
    workers: int
    kills: int
    redis_losses: int
    postgres_restarts: int
    stops: int
    stop_seconds: float

    def faults(self) -> list[PlannedFault]:
        """Every fault, in the order of time."""
        rng = random.Random(self.seed)  # noqa: S311 - to be repeated, not to be secret
        return sorted(
            [*self._kills(rng), *self._stops(rng), *self._redis(rng), *self._postgres(rng)]
        )

    def _kills(self, rng: random.Random) -> Iterator[PlannedFault]:
        for at in self._times(self.kills, rng):
            yield PlannedFault(at, FaultKind.KILL, rng.randrange(self.workers))

    def _stops(self, rng: random.Random) -> Iterator[PlannedFault]:
        for at in self._times(self.stops, rng):
            yield PlannedFault(at, FaultKind.STOP, rng.randrange(self.workers), self.stop_seconds)

    def _redis(self, rng: random.Random) -> Iterator[PlannedFault]:
        for number, at in enumerate(self._times(self.redis_losses, rng), 1):
            if number % EVERY_THIRD == 0:
                yield PlannedFault(at, FaultKind.REDIS_FLUSH)
            else:
                away = rng.uniform(0, REDIS_AWAY_SECONDS)
                yield PlannedFault(at, FaultKind.REDIS_KILL, seconds=away)

    def _postgres(self, rng: random.Random) -> Iterator[PlannedFault]:
        for number, at in enumerate(self._times(self.postgres_restarts, rng), 1):
            if number % EVERY_THIRD == 0:
                yield PlannedFault(at, FaultKind.POSTGRES_RESTART)
            else:
                away = rng.uniform(0, POSTGRES_AWAY_SECONDS)
                yield PlannedFault(at, FaultKind.POSTGRES_CRASH, seconds=away)

    def _times(self, count: int, rng: random.Random) -> Iterator[float]:
        """Even, with jitter: one moment in each of `count` equal parts of the time."""
        for part in range(count):
            yield (part + rng.random()) * self.seconds / count


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """The options of a run.

    Attributes:
        stop_seconds: How long a frozen worker stays frozen.
        patience: Seconds without progress after which what is left counts as stuck.
        baseline: Run stock arq without us.
    """

    seed: int
    tasks: int = 2000
    workers: int = 4
    kills: int = 20
    redis_losses: int = 3
    postgres_restarts: int = 2
    stops: int = 2
    stop_seconds: float = 10.0
    patience: float = PATIENCE_SECONDS
    baseline: bool = False

    @property
    def seconds(self) -> float:
        """How long tasks are produced and faults happen."""
        return max(
            self.tasks / TASKS_PER_SECOND,
            self.kills / KILLS_PER_SECOND,
            self.redis_losses * SECONDS_PER_SERVER_FAULT,
            self.postgres_restarts * SECONDS_PER_SERVER_FAULT,
        )

    def faults(self) -> list[PlannedFault]:
        """Every fault, in the order of time."""
        return FaultPlan(
            seed=self.seed, seconds=self.seconds, workers=self.workers, kills=self.kills,
            redis_losses=self.redis_losses, postgres_restarts=self.postgres_restarts,
            stops=self.stops, stop_seconds=self.stop_seconds,
        ).faults()  # fmt: skip
