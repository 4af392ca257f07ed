"""When a failed attempt is repeated: pure functions, so that their tests are tables."""

import random
from dataclasses import dataclass

from uow.db.failures import Cause, Kind, cause_of
from uow.errors import (
    AttemptSuperseded,
    EnqueueError,
    InvalidResult,
    RepeatedSetback,
    TransactionEnded,
)
from uow.process.kept import NotCalled
from uow.tasks.outcome import (
    LONGEST_DELAY,
    Cancel,
    Cancelled,
    Failed,
    HandedBack,
    Outcome,
    Retry,
    Retrying,
    Signal,
    Snooze,
    Snoozed,
)
from uow.telemetry.description import leaves_of, one_line

HAND_BACK_SECONDS = (1.0, 5.0)
"""How long a task waits that met a failing server; spread, so that they do not return at once."""

SUPERSEDED = Cause("AttemptSuperseded", Kind.STATEMENT)
"""Said of an attempt that is still the last one, it is no more than an error of user code's."""

MOST_SETBACKS = 5
"""So often in a row a failing server is believed; then it is the task's own failure."""

STEEPEST = 1_000
"""The largest factor of a backoff."""

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
        times = (0 <= time <= LONGEST_DELAY for time in (self.base, self.cap))  # nor is NaN
        if not (all(times) and 1 <= self.factor <= STEEPEST and 0 <= self.jitter <= 1):
            raise ValueError(
                f"{self} is not a backoff: base and cap from 0 s to ten years, factor 1 to "
                f"{STEEPEST}, jitter 0 to 1"
            )

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
    error: BaseException, failures_before: int, policy: RetryPolicy, rng: random.Random
) -> Outcome:
    """What becomes of an attempt that ended with `error`.

    A group is as bad as the worst error in it: a lost server, then `Cancel`, then a final error,
    then `Retry` and `Snooze`, of which the longest delay holds; `Retry` counts.
    """
    try:
        return _decide(error, failures_before, policy, rng)
    except Exception:
        return counted(error, failures_before, policy, rng)


def _decide(
    error: BaseException, failures_before: int, policy: RetryPolicy, rng: random.Random
) -> Outcome:
    leaves = leaves_of(error)
    if any(isinstance(leaf, AttemptSuperseded) for leaf in leaves):
        return HandedBack(0.0, one_line(error), error, SUPERSEDED)
    if any(isinstance(leaf, NotCalled) for leaf in leaves):
        return HandedBack(rng.uniform(*HAND_BACK_SECONDS), one_line(error), error)
    others = [leaf for leaf in leaves if not isinstance(leaf, Signal)]
    cause = next(filter(None, map(cause_of, others)), None)
    if cause is not None:
        reason = f"{cause.name}: {one_line(error)}"  # by whatever name user code gave it
        return HandedBack(rng.uniform(*HAND_BACK_SECONDS), reason, error, cause)
    for leaf in leaves:
        if isinstance(leaf, Cancel):
            return Cancelled(leaf)
    final: tuple[type[Exception], ...] = (*ALWAYS_FINAL, *policy.final)
    if isinstance(error, final) and not isinstance(error, Signal):
        return Failed(error)
    if any(isinstance(leaf, final) for leaf in others):
        return Failed(error)
    delays = [leaf.delay for leaf in leaves if isinstance(leaf, Retry | Snooze)]
    longest = max((delay for delay in delays if delay is not None), default=None)
    if longest is not None and not any(isinstance(leaf, Retry) for leaf in leaves):
        return Snoozed(longest)
    return counted(error, failures_before, policy, rng, longest)


def counted(
    error: BaseException,
    failures_before: int,
    policy: RetryPolicy,
    rng: random.Random,
    delay: float | None = None,
) -> Retrying | Failed:
    """What becomes of an attempt whose failure counts; without a `delay` the backoff decides."""
    tries = failures_before + 1
    if tries >= policy.max_tries:
        return Failed(error)
    return Retrying(policy.backoff.delay(tries, rng) if delay is None else delay, error)


def counted_setback(
    outcome: HandedBack, times: int, failures_before: int, policy: RetryPolicy, rng: random.Random
) -> Retrying | Failed:
    """What becomes of an attempt that was cut short as the `times` - 1 before it were."""
    error = RepeatedSetback(
        f"{times} attempts in a row were cut short while Postgres answered, the last by "
        f"{outcome.setback}, so it counts as the task's own failure ({outcome.reason})"
    )
    error.__cause__ = outcome.error
    return counted(error, failures_before, policy, rng)
