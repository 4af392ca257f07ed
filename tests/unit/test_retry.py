import random
from datetime import timedelta
from unittest.mock import ANY

import asyncpg
import pytest

from uow import Backoff, Cancel, Retry, Snooze
from uow.errors import (
    AttemptSuperseded,
    InvalidArguments,
    InvalidResult,
    ServerUnreachable,
    UnitOfWorkLost,
)
from uow.tasks.outcome import Cancelled, Failed, HandedBack, Outcome, Retrying, Snoozed
from uow.tasks.retry import RetryPolicy, decide

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


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "values",
    [{"base": -1}, {"cap": -1}, {"factor": 0.5}, {"jitter": 2}, {"base": NAN}, {"cap": INF},
     {"factor": INF}, {"factor": NAN}, {"jitter": NAN}],
)  # fmt: skip
def test_what_is_no_backoff_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is not a backoff"):
        Backoff(**values)


@pytest.mark.parametrize("kind", [Retry, Snooze])
@pytest.mark.parametrize("delay", [INF, -INF, NAN, -1, 1e12, timedelta(days=99_999)])
def test_a_delay_is_a_time_from_now_to_ten_years(
    kind: type[Retry | Snooze], delay: float | timedelta
) -> None:
    with pytest.raises(ValueError, match=kind.__name__ + ".*the delay is not a time from 0 s to"):
        kind(delay)
    assert kind(timedelta(minutes=2)).delay == 120


POLICY = RetryPolicy(max_tries=3, backoff=NO_JITTER, final=(LookupError,))


@pytest.mark.parametrize(
    ("error", "before", "expected"),
    [
        (ValueError(), 0, Retrying(2, ANY)),
        (ValueError(), 1, Retrying(4, ANY)),
        (ValueError(), 2, Failed(ANY)),
        (KeyError(), 0, Failed(ANY)),
        (InvalidArguments(), 0, Failed(ANY)),
        (InvalidResult(), 0, Failed(ANY)),
        (Retry(delay=7), 0, Retrying(7, ANY)),
        (Retry(), 1, Retrying(4, ANY)),
        (Retry(delay=7), 2, Failed(ANY)),
        (Snooze(9), 2, Snoozed(9)),
        (Cancel(), 2, Cancelled(ANY)),
    ],
    ids=str,
)  # fmt: skip
def test_what_becomes_of_an_attempt(error: Exception, before: int, expected: object) -> None:
    outcome = decide(error, before, POLICY, RNG)
    assert type(outcome) is type(expected)
    assert getattr(outcome, "delay", None) == getattr(expected, "delay", None)


class Panic(BaseException): ...


def _group(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("outer", [BaseExceptionGroup("inner", errors), errors[0]])


@pytest.mark.parametrize(
    ("errors", "before", "expected"),
    [
        ([Cancel(), UnitOfWorkLost("gone"), KeyError()], 2, HandedBack),
        ([KeyError(), Snooze(9), Cancel("well")], 2, Cancelled),
        ([Snooze(9), KeyError()], 0, Failed),
        ([InvalidResult(), Retry(1)], 0, Failed),
        ([ValueError(), Snooze(9), Snooze(70)], 2, Snoozed(70)),
        ([Retry(9), Retry(70), Retry()], 0, Retrying(70, ANY)),
        ([Snooze(70), Retry(9)], 0, Retrying(70, ANY)),
        ([Snooze(70), Retry(9)], 2, Failed),
        ([ValueError(), Panic()], 0, Retrying(2, ANY)),
        ([ValueError(), Panic()], 2, Failed),
        ([AttemptSuperseded(), UnitOfWorkLost("gone")], 2, HandedBack(0.0, ANY)),
    ],
    ids=str,
)  # fmt: skip
def test_a_group_is_as_bad_as_the_worst_error_in_it(
    errors: list[BaseException],
    before: int,
    expected: type[Outcome] | Retrying | Snoozed | HandedBack,
) -> None:
    for order in (errors, errors[::-1]):
        outcome = decide(_group(*order), before, POLICY, RNG)
        if isinstance(expected, type):
            assert type(outcome) is expected
        else:
            assert type(outcome) is type(expected)
            assert getattr(outcome, "delay", None) == expected.delay


def test_what_a_group_is_cancelled_for_is_the_reason_alone() -> None:
    reason = Cancel("nobody needs it")
    assert decide(_group(ValueError(), reason), 0, POLICY, RNG) == Cancelled(reason)


def test_a_signal_is_no_failure_of_the_server_that_led_to_it() -> None:
    again = Retry(7)
    again.__cause__ = UnitOfWorkLost("gone")
    assert decide(again, 0, POLICY, RNG) == Retrying(7, again)


def test_not_even_a_final_error_of_every_kind_makes_a_signal_final() -> None:
    policy = RetryPolicy(max_tries=3, backoff=NO_JITTER, final=(Exception,))
    assert decide(Snooze(9), 0, policy, RNG) == Snoozed(9)
    assert type(decide(Retry(7), 0, policy, RNG)) is Retrying
    assert type(decide(ValueError(), 0, policy, RNG)) is Failed


def test_an_error_that_cannot_even_be_looked_at_counts() -> None:
    class Hostile(Exception):
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise RuntimeError("mine")

    assert type(decide(Hostile(), 0, POLICY, RNG)) is Retrying
    assert type(decide(Hostile(), 2, POLICY, RNG)) is Failed


@pytest.mark.parametrize(
    ("error", "setback"),
    [
        (asyncpg.DeadlockDetectedError("x"), "40P01"),
        (UnitOfWorkLost("gone"), "UnitOfWorkLost"),
        (asyncpg.TooManyConnectionsError("x"), None),
        (ServerUnreachable("refused"), None),
    ],
)
def test_only_what_one_task_can_bring_about_is_a_setback(
    error: Exception, setback: str | None
) -> None:
    outcome = decide(error, 0, POLICY, RNG)
    assert isinstance(outcome, HandedBack)
    assert outcome.setback == setback


def test_what_the_infrastructure_did_is_handed_back_however_often() -> None:
    outcome = decide(UnitOfWorkLost("gone"), 99, POLICY, RNG)
    assert isinstance(outcome, HandedBack)
    assert 1 <= outcome.delay <= 5
