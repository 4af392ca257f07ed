"""When a failed attempt is repeated: pure functions, so that their tests are tables."""

import random
from dataclasses import dataclass

from worker.db.failures import is_infrastructure
from worker.errors import AttemptSuperseded, EnqueueError, InvalidResult, TransactionEnded
from worker.execution.outcome import (
    Cancel,
    Cancelled,
    Failed,
    HandedBack,
    Outcome,
    Retry,
    Retrying,
    Snooze,
    Snoozed,
)

HAND_BACK_SECONDS = (1.0, 5.0)
"""How long a task waits that met a failing server; spread, so that they do not return at once."""

ALWAYS_FINAL = (EnqueueError, InvalidResult, TransactionEnded)
"""What no repetition can mend."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter.

    The n-th retry waits ``base * factor ** (n - 1)`` seconds, at most `cap`, of which a random part
    up to `jitter` (a fraction) is taken off, so that tasks that failed together do not return
    together.
    """

    base: float = 2.0
    cap: float = 300.0
    factor: float = 2.0
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if self.base < 0 or self.cap < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError(f"{self} is not a backoff: base, cap >= 0, factor >= 1, jitter 0 to 1")

    def delay(self, tries: int, rng: random.Random) -> float:
        """Seconds to wait after the `tries`-th failure."""
        exponent = min(tries - 1, 64)  # beyond that every cap is reached
        full = min(self.cap, self.base * self.factor**exponent)
        return full * (1 - self.jitter * rng.random())


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What `@task` says about failures."""

    max_tries: int = 5
    backoff: Backoff = Backoff()
    final: tuple[type[Exception], ...] = ()


def decide(
    error: Exception, failures_before: int, policy: RetryPolicy, rng: random.Random
) -> Outcome:
    """What becomes of an attempt that ended with `error`."""
    match error:
        case Snooze():
            return Snoozed(error.delay)
        case Cancel():
            return Cancelled(error)
        case AttemptSuperseded():
            return HandedBack(0.0, str(error))
    if is_infrastructure(error):
        return HandedBack(rng.uniform(*HAND_BACK_SECONDS), f"{type(error).__name__}: {error}")
    tries = failures_before + 1
    if isinstance(error, (*ALWAYS_FINAL, *policy.final)) or tries >= policy.max_tries:
        return Failed(error)
    if isinstance(error, Retry) and error.delay is not None:
        return Retrying(error.delay, error)
    return Retrying(policy.backoff.delay(tries, rng), error)
