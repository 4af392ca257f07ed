"""The ids of tasks: of version 7, and in order whatever the clock does."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from uow.ids import new_id, new_ids


def test_an_id_is_a_uuid_of_version_7_that_says_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    assert isinstance(made, UUID)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_ids_that_are_made_at_once_follow_each_other() -> None:
    ids = [*new_ids(10_000), new_id(), *new_ids(10), new_id()]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_no_ids_are_made_of_nothing() -> None:
    assert new_ids(0) == []


def test_a_clock_that_goes_back_does_not_take_the_ids_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = new_id()
    an_hour_ago = time.time_ns() - 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: an_hour_ago)
    after = new_ids(3)
    assert [before, *after] == sorted([before, *after])


def test_threads_share_one_order() -> None:
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda _: new_ids(100), range(100)))
    assert all(ids == sorted(ids) for ids in many)
    assert len({one for ids in many for one in ids}) == 10_000
    spans = sorted((ids[0], ids[-1]) for ids in many)
    assert all(last < first for (_, last), (first, _) in pairwise(spans))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_makes_ids_whoever_was_making_one() -> None:
    from uow import ids

    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with ids._ticks._lock:
            held.set()
            forked.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        new_id()
        os._exit(7)
    forked.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
