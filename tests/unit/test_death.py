"""What a process dies of is its own, and not that of a fork."""

import os

import pytest

from uow.errors import WorkerDied
from uow.process.death import Death


def test_a_dead_service_stops_the_process_and_says_why() -> None:
    stopped: list[int] = []
    death = Death(lambda: stopped.append(1))
    assert death.exit_code == 0
    death.die(ValueError("no"))
    assert (stopped, death.exit_code) == ([1], 1)
    with pytest.raises(WorkerDied, match="a service of the worker has ended"):
        death.tell()


def test_a_fork_is_not_stopped_by_what_fails_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []
    death = Death(lambda: stopped.append(1))
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    death.die(RuntimeError("no running event loop"))
    assert stopped == []
    assert death.cause is None
