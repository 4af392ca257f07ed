import random

import pytest

from worker import Backoff, Cancel, Retry, Snooze
from worker.errors import InvalidArguments, InvalidResult, UnitOfWorkLost
from worker.execution.outcome import Cancelled, Failed, HandedBack, Retrying, Snoozed
from worker.execution.retry import RetryPolicy, decide

RNG = random.Random(1)
NO_JITTER = Backoff(base=2, cap=300, jitter=0)


@pytest.mark.parametrize(
    ("tries", "delay"), [(1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (9999, 300)]
)
def test_the_backoff_doubles_up_to_its_cap(tries: int, delay: float) -> None:
    assert NO_JITTER.delay(tries, RNG) == delay


def test_the_jitter_takes_off_at_most_its_part() -> None:
    delays = [Backoff(base=100, jitter=0.25).delay(1, RNG) for _ in range(1000)]
    assert 75 <= min(delays) < 80
    assert 95 < max(delays) <= 100


@pytest.mark.parametrize("values", [{"base": -1}, {"cap": -1}, {"factor": 0.5}, {"jitter": 2}])
def test_what_is_no_backoff_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is not a backoff"):
        Backoff(**values)


POLICY = RetryPolicy(max_tries=3, backoff=NO_JITTER, final=(LookupError,))


@pytest.mark.parametrize(
    ("error", "before", "expected"),
    [
        (ValueError(), 0, Retrying(2, ...)),
        (ValueError(), 1, Retrying(4, ...)),
        (ValueError(), 2, Failed(...)),
        (KeyError(), 0, Failed(...)),
        (InvalidArguments(), 0, Failed(...)),
        (InvalidResult(), 0, Failed(...)),
        (Retry(delay=7), 0, Retrying(7, ...)),
        (Retry(), 1, Retrying(4, ...)),
        (Retry(delay=7), 2, Failed(...)),
        (Snooze(9), 2, Snoozed(9)),
        (Cancel(), 2, Cancelled(...)),
    ],
    ids=str,
)  # fmt: skip
def test_what_becomes_of_an_attempt(error: Exception, before: int, expected: object) -> None:
    outcome = decide(error, before, POLICY, RNG)
    assert type(outcome) is type(expected)
    assert getattr(outcome, "delay", None) == getattr(expected, "delay", None)


def test_what_the_infrastructure_did_is_handed_back_however_often() -> None:
    outcome = decide(UnitOfWorkLost("gone"), 99, POLICY, RNG)
    assert isinstance(outcome, HandedBack)
    assert 1 <= outcome.delay <= 5
