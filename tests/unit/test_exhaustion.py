"""What is taken for the process's own lack, and what is not."""

import errno
import os
import subprocess
import sys

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from uow import exhaustion
from uow.errors import ServerUnreachable
from uow.process.heart import Heart


def raised_from(cause: BaseException, error: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def raised_during(other: BaseException, error: BaseException) -> BaseException:
    error.__context__ = other
    return error


FULL = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

DESCRIPTORS = "this process is out of file descriptors (RLIMIT_NOFILE="


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (FULL, DESCRIPTORS),
        (raised_from(FULL, ServerUnreachable("Postgres cannot be reached")), DESCRIPTORS),
        (raised_during(FULL, RedisConnectionError("Error 24 connecting")), DESCRIPTORS),
        (OSError(f"Multiple exceptions: {FULL}, {FULL}"), DESCRIPTORS),
        (OSError(errno.ENFILE, "…"), "this machine is out of file descriptors (fs.file-max)"),
        (OSError(errno.ENOMEM, "…"), "this process is out of memory"),
        (raised_from(MemoryError(), RuntimeError()), "this process is out of memory"),
    ],
)
def test_an_error_that_comes_of_a_lack_of_the_processs_own(error: BaseException, what: str) -> None:
    assert (exhaustion.Exhaustion().explains(error) or "").startswith(what)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        ServerUnreachable("Postgres cannot be reached"),
        RedisConnectionError("Connection closed by server."),
    ],
)
def test_an_error_that_comes_of_a_server(error: BaseException) -> None:
    assert exhaustion.Exhaustion().explains(error) is None


def test_an_endless_chain_of_causes_ends() -> None:
    first, second = RuntimeError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    assert exhaustion.Exhaustion().explains(first) is None


class Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("uow.exhaustion.time.monotonic", lambda: made.now)
    return made


def test_a_lack_is_said_once_and_is_over_when_nobody_has_met_it_for_a_while(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    here = exhaustion.Exhaustion()
    assert here.lasts() == 0
    for _ in range(4):
        here.explains(FULL)
        clock.now += 4
    assert here.lasts() == 16
    assert len(caplog.records) == 1
    clock.now += 1
    assert here.lasts() == 0
    assert "is there again" in caplog.messages[-1]


def test_it_is_hopeless_when_it_lasts(clock: Clock) -> None:
    here = exhaustion.Exhaustion()
    for _ in range(11):
        assert here.hopeless() is None
        here.explains(FULL)
        clock.now += 3
    assert DESCRIPTORS in str(here.hopeless())
    clock.now += 10
    assert here.lasts(), "whoever ends claims nothing more"


async def test_who_cannot_end_its_process_claims_again_when_the_lack_is_over(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = exhaustion.Exhaustion()
    monkeypatch.setattr(exhaustion, "here", here)
    for _ in range(12):
        here.explains(FULL)
        clock.now += 3
    await Heart(3.0, str).run_once()  # that of a worker made by hand: nobody is told of a death
    clock.now += 10
    assert here.lasts() == 0


def test_another_thread_may_find_out_at_the_same_time_that_it_is_over(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = exhaustion.Exhaustion()
    here.explains(FULL)
    clock.now += 1

    def over_meanwhile() -> None:
        here._since = None

    monkeypatch.setattr(exhaustion, "_found_by_trying", over_meanwhile)
    assert here.lasts() == 1


WITHOUT_DESCRIPTORS = """
import resource
from uow import exhaustion
from uow.broker import connection, scripts

names = list(scripts._SOURCES)
assert len(names) > 5
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for name in names:
    assert connection._script(name)[0] == scripts.source(name) and scripts._script(name)
found = exhaustion.here.explains(RuntimeError("a name was not found"))
assert found == "this process is out of file descriptors (RLIMIT_NOFILE=3)", found
print("fine")
"""


def test_scripts_are_there_and_a_lack_is_found_when_nothing_can_be_opened() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS], capture_output=True, text=True, check=False
    )
    assert done.stdout == "fine\n", done.stderr
