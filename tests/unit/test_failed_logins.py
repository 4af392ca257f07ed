"""Wrong tokens, per address: who has to wait, and what is remembered."""

import pytest

from uow.api import failed_logins
from uow.api.failed_logins import FREE_FAILURES, LONGEST_WAIT, FailedLogins


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failed(clock: Clock) -> FailedLogins:
    return FailedLogins(clock)


def fail(failed: FailedLogins, times: int, address: str = "203.0.113.7") -> list[int]:
    return [failed.failed(address) for _ in range(times)]


def test_the_first_ones_cost_nothing(failed: FailedLogins) -> None:
    assert fail(failed, FREE_FAILURES) == [0] * (FREE_FAILURES - 1) + [1]


def test_each_further_one_waits_twice_as_long_up_to_a_bound(
    failed: FailedLogins, clock: Clock
) -> None:
    fail(failed, FREE_FAILURES)
    waits = []
    for _ in range(20):
        clock.now += LONGEST_WAIT
        waits += fail(failed, 1)
    assert waits[:8] == [2, 4, 8, 16, 32, 60, 60, 60]
    assert waits[-1] == LONGEST_WAIT


def test_what_comes_during_a_wait_makes_it_no_longer(failed: FailedLogins, clock: Clock) -> None:
    fail(failed, FREE_FAILURES + 1)
    assert fail(failed, 1000) == [1] * 1000
    clock.now += 1
    assert fail(failed, 1) == [2]


def test_other_addresses_do_not_wait(failed: FailedLogins) -> None:
    fail(failed, 50)
    assert fail(failed, 1, "203.0.113.8") == [0]


@pytest.mark.parametrize("how", ["a right token", "time"])
def test_an_address_begins_anew_after(failed: FailedLogins, clock: Clock, how: str) -> None:
    fail(failed, 50)
    if how == "time":
        clock.now += failed_logins.FORGOTTEN_AFTER + LONGEST_WAIT
    else:
        failed.succeeded("203.0.113.7")
    assert fail(failed, 1) == [0]


def test_one_client_of_ipv6_is_one_whatever_address_of_its_network_it_takes(
    failed: FailedLogins,
) -> None:
    assert max(failed.failed(f"2001:db8::{n:x}") for n in range(1, 12)) == 1
    assert failed.failed("2001:db8:0:1::1") == 0


def test_so_many_addresses_are_remembered_and_no_more(
    failed: FailedLogins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_logins, "MOST_ADDRESSES", 100)
    fail(failed, 50, "10.9.9.9")
    for n in range(1000):
        fail(failed, 1, f"10.0.{n // 250}.{n % 250}")
        fail(failed, 1, "10.9.9.9")
    assert len(failed) == 100
    assert fail(failed, 1, "10.9.9.9") == [1]


def test_it_is_logged_once_with_the_address(
    failed: FailedLogins, caplog: pytest.LogCaptureFixture
) -> None:
    fail(failed, 100)
    fail(failed, 1, "no address\nat all")
    assert [record.message for record in caplog.records] == [
        "wrong tokens from 203.0.113.7: 10 in a row; slowed"
    ]
