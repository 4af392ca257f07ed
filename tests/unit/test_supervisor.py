"""What the supervisor decides: when to start again, when to give up, how it ends."""

import asyncio
import signal
import sys

import pytest

from uow.process import supervisor
from uow.process.child import Child, Ended
from uow.process.restarts import HOPELESS_ROUNDS, Restarts
from uow.process.supervisor import child_command, supervise
from uow.settings.environment import GivenSettings

QUICK = 0.5


def test_the_pause_doubles_up_to_its_cap() -> None:
    restarts = Restarts(1)
    assert [restarts.pause_after(0, 10) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    for _ in range(5000):
        assert restarts.pause_after(0, 10) == 30


def test_a_minute_of_life_makes_the_next_crash_a_first_one() -> None:
    restarts = Restarts(1)
    assert [restarts.pause_after(0, lived) for lived in (10, 59, 60, 1)] == [1, 2, 1, 2]


def test_the_crashes_of_one_do_not_delay_another() -> None:
    restarts = Restarts(2)
    assert [restarts.pause_after(0, 10) for _ in range(3)] == [1, 2, 4]
    assert restarts.pause_after(1, 10) == 1


def test_it_is_hopeless_when_each_has_ended_three_times_at_its_start() -> None:
    restarts = Restarts(2)
    rounds = [restarts.pause_after(number, QUICK) for _ in range(3) for number in (0, 1)]
    assert rounds == [1, 1, 2, 2, 4, None]


def test_it_is_not_hopeless_while_one_of_them_lives() -> None:
    restarts = Restarts(2)
    assert None not in [restarts.pause_after(0, QUICK) for _ in range(20)]


def test_it_is_not_hopeless_once_one_of_them_has_lived_for_ten_seconds() -> None:
    restarts = Restarts(2)
    restarts.pause_after(1, 10)
    assert None not in [restarts.pause_after(n, QUICK) for _ in range(20) for n in (0, 1)]


@pytest.mark.parametrize(
    ("code", "told", "exit_code", "words"),
    [
        (0, False, 0, "ended with exit code 0"),
        (3, False, 3, "ended with exit code 3"),
        (1, True, 1, "ended with exit code 1"),  # a second signal, or its own hard end
        (-signal.SIGTERM, True, 0, "was ended by SIGTERM"),  # before it listened
        (-signal.SIGTERM, False, 1, "was ended by SIGTERM"),
        (-signal.SIGKILL, True, 1, "was ended by SIGKILL"),
        (-40, False, 1, "was ended by signal 40"),
    ],
)
def test_the_exit_code_of_one_child(code: int, told: bool, exit_code: int, words: str) -> None:
    ended = Ended(code, lived=1.0, told=told)
    assert ended.exit_code == exit_code
    assert str(ended) == words


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("-m worker run --processes 4 --burst", "-m worker run --burst"),
        ("-m worker run --burst --processes=4", "-m worker run --burst"),
        ("bin/worker run --watch --stock", "bin/worker run --stock"),
        ("bin/worker run --watch-dir src --processes 2", "bin/worker run"),
        ("bin/worker run --watch-dir=src --queue a", "bin/worker run --queue a"),
        ("bin/worker run --processes 2 -- --watch", "bin/worker run -- --watch"),
        ("-X dev -m worker run --processes 1 4", "-X dev -m worker run 4"),
    ],
)
def test_a_child_is_started_as_we_were_without_our_options(ours: str, theirs: str) -> None:
    assert child_command(["python", *ours.split()]) == [sys.executable, *theirs.split()]


async def test_a_child_that_has_ended_is_not_signalled_any_more() -> None:
    child = Child([sys.executable, "-c", ""])
    while not child.ended.done():
        child.reap()
        await asyncio.sleep(0)
    child.stop(patience=0)
    child.kill9()
    assert child.ended.result() == Ended(0, child.ended.result().lived, told=False)
    assert not child.told


def test_processes_that_a_signal_has_ended_are_not_hopeless() -> None:
    """A task that crashes its process at once is found out by the rescuer, if workers go on."""
    restarts = Restarts(2)
    for _ in range(2 * HOPELESS_ROUNDS):
        assert restarts.pause_after(0, 1.0, by_signal=True) is not None
        assert restarts.pause_after(1, 1.0, by_signal=True) is not None


def test_who_runs_an_arq_class_is_given_no_time_but_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float | None] = []

    class Supervised(supervisor.Supervisor):
        def __init__(self, *_: object, patience: float | None, **__: object) -> None:
            given.append(patience)

        async def run(self) -> int:
            return 0

    monkeypatch.setattr(supervisor, "Supervisor", Supervised)
    settings = GivenSettings(database_url="postgresql://h/d", shutdown_grace=7)
    for needs_database in (False, True):
        assert supervise(settings, needs_database=needs_database) == 0
    assert given == [None, 7 + supervisor.PATIENCE_MARGIN]
