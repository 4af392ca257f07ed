"""The supervisor with small children: real processes and real signals, no worker."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import ROOT, LoggedProcess, run_logged
from uow.process.signals import STOP_SIGNALS

PARENT = """
import asyncio, sys, types
from pathlib import Path

# The parent needs none of the public names, which take a second or more to import.
package = sys.modules["uow"] = types.ModuleType("uow")
package.__path__ = [{package!r}]

from uow.process import orphans
from uow.errors import WorkerError
from uow.process import restarts
from uow.process.reload import run_reloading
from uow.process.supervisor import Supervisor
from uow.telemetry import logs

logs.configure("INFO")
restarts.FIRST_PAUSE = {first_pause}
orphans.KERNEL_SIGNALS_ORPHANS &= {kernel}
supervisor = Supervisor(
    {command}, {count}, patience={patience}, burst={burst},
    waits_for_change={watched!r} is not None,
)
try:
    if {watched!r} is None:
        code = asyncio.run(supervisor.run())
    else:
        code = asyncio.run(run_reloading(supervisor, Path({watched!r})))
except WorkerError as error:
    sys.exit(f"told: {{error}}")
sys.exit(code)
"""

# Each of them says in one write what it hears, and stays as long as somebody listens.
PREFACE = """
import os, select, signal, sys, time

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def wait():
    say("up", os.getpid())
    listener = select.poll()
    listener.register(1, 0)  # which tells that the other end is closed
    listener.poll()

"""
PLAIN = "wait()"
STUBBORN = "signal.signal(signal.SIGTERM, lambda *_: say('heard'))\nwait()"
HEARS = """
heard = []
def hear(number, _):
    heard.append(number)
    say("heard", len(heard), signal.Signals(number).name)
    if len(heard) == 2:
        os._exit(1)
signal.signal(signal.SIGTERM, hear)
signal.signal(signal.SIGINT, hear)
"""
LIKE_A_WORKER = HEARS + "wait()"
ENDS_IN_A_MOMENT = (
    HEARS + "say('up', os.getpid())\nwhile not heard: time.sleep(0.02)\ntime.sleep(0.2)"
)
ONE_CRASHES_ONCE = """
try:
    os.close(os.open("crashed", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    sys.exit(0)
sys.exit(3)
"""

ONE_ENDS_WELL_ONCE = """
try:
    os.close(os.open("ended", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    wait()
"""

ONE_STAYS = """
try:
    os.close(os.open("first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    sys.exit(3)
wait()
"""

Supervise = Callable[..., LoggedProcess]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """Start a supervisor of `count` children that run this code."""
    started: list[LoggedProcess] = []

    def start(
        code: str, count: int = 2, *, patience: float | None = 20, first_pause: float = 0.05,
        kernel: bool = True, watched: Path | None = None, command: list[str] | None = None,
        burst: bool = False, ignored: str = "",
    ) -> LoggedProcess:  # fmt: skip
        script = PARENT.format(
            command=command or [sys.executable, "-c", PREFACE + code], count=count,
            patience=patience, first_pause=first_pause, kernel=kernel, burst=burst,
            watched=watched and str(watched), package=str(ROOT / "uow"),
        )  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        shell = ["sh", "-c", f'trap "" {ignored}; exec "$@"', "sh"] if ignored else []
        process = run_logged([*shell, sys.executable, "-c", script], environment, cwd=tmp_path)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill9()


def send_again(parent: LoggedProcess, number: signal.Signals, heard: str, count: int) -> None:
    """Signal until it is taken for more than an echo of the first signal."""
    deadline = time.monotonic() + 20
    while parent.log.count(heard) < count and parent.process.poll() is None:
        assert time.monotonic() < deadline, parent.log
        parent.process.send_signal(number)
        with suppress(AssertionError):
            parent.wait_for_logs(heard, count, 0.1)


def pids(parent: LoggedProcess, count: int) -> list[int]:
    """The pids of the first `count` children that are up."""
    return [int(line.split()[1]) for line in parent.wait_for_logs("up ", count)]


# -- a crash


def test_a_killed_child_is_replaced_and_the_others_keep_running(supervise: Supervise) -> None:
    parent = supervise(PLAIN, 3)
    killed, *others = pids(parent, 3)
    os.kill(killed, signal.SIGKILL)
    replacement = pids(parent, 4)[3]
    assert replacement not in (killed, *others)
    parent.wait_for_log(f"(pid {killed}) was ended by SIGKILL")
    parent.wait_for_log("starts again in 0.05 s")
    for pid in others:
        os.kill(pid, 0)
    assert parent.log.count("was ended by") == 1
    assert parent.terminate() == 0


def test_children_that_are_done_end_it_with_0_and_a_crashed_one_gets_another_go(
    supervise: Supervise,
) -> None:
    parent = supervise(ONE_CRASHES_ONCE, 2, burst=True)
    assert parent.wait() == 0
    assert parent.log.count("ended with exit code 3") == 1
    assert parent.log.count("ended with exit code 0") == 2


def test_a_child_that_ends_with_0_though_it_is_no_burst_is_replaced_with_a_warning(
    supervise: Supervise,
) -> None:
    parent = supervise(ONE_ENDS_WELL_ONCE, 2)
    pids(parent, 2)
    assert parent.log.count("with exit code 0, though we had not told it to stop") == 1
    assert "WARNING uow.process.supervisor: process" in parent.log
    assert parent.log.count("starts again in 0.05 s") == 1
    assert parent.terminate() == 0


def test_children_that_never_get_past_their_start_end_it_with_1_and_the_reason(
    supervise: Supervise,
) -> None:
    parent = supervise("sys.exit(3)", 2)
    assert parent.wait() == 1
    assert "each process has ended 3 times before it had run for 10 s: giving up" in parent.log
    assert parent.log.count("giving up") == 1


def test_a_program_that_is_not_there_is_told(supervise: Supervise) -> None:
    parent = supervise("", 1, command=["/no/such/program"])
    assert parent.wait() == 1
    assert "process 0 cannot be started: [Errno 2] No such file" in parent.log


# -- the end


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_passed_on_as_one_sigterm(number: signal.Signals, supervise: Supervise) -> None:
    parent = supervise(LIKE_A_WORKER)
    pids(parent, 2)
    parent.process.send_signal(number)
    assert len(parent.wait_for_logs("heard 1 SIGTERM", 2)) == 2
    send_again(parent, number, "heard 2 SIGTERM", 2)
    assert parent.wait() == 1
    assert "stopping at once" in parent.log


def test_signals_within_half_a_second_are_one(supervise: Supervise) -> None:
    parent = supervise(ENDS_IN_A_MOMENT)
    pids(parent, 2)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
        parent.process.send_signal(number)
    assert parent.wait() == 0, parent.log
    assert parent.log.count("heard 1 SIGTERM") == 2


def test_nohup_lets_a_supervisor_and_its_children_outlive_the_terminal(
    supervise: Supervise,
) -> None:
    parent = supervise("say(repr(signal.getsignal(signal.SIGHUP)))\n" + PLAIN, ignored="HUP")
    assert "Handlers.SIG_IGN" in parent.wait_for_logs("Handlers.", 2)[0]
    pids(parent, 2)
    parent.process.send_signal(signal.SIGHUP)
    assert parent.terminate() == 0
    assert "SIGHUP" not in parent.log


def test_ctrl_c_in_a_terminal_reaches_the_children_through_their_parent_alone(
    supervise: Supervise,
) -> None:
    parent = supervise(PLAIN)
    for pid in pids(parent, 2):
        assert os.getpgid(pid) == pid != os.getpgid(parent.pid)


def test_sigterm_while_a_crashed_child_waits_for_its_restart_starts_none(
    supervise: Supervise,
) -> None:
    parent = supervise(ONE_STAYS, first_pause=30)
    pids(parent, 1)
    parent.wait_for_log("starts again in 30 s")
    assert parent.terminate() == 3
    assert parent.wait_for_log("SIGTERM: stopping")


def test_a_child_that_does_not_end_is_killed_after_the_grace(supervise: Supervise) -> None:
    parent = supervise(STUBBORN, patience=0.3)
    both = pids(parent, 2)
    assert parent.terminate() == 1
    for pid in both:
        assert f"pid {pid} still runs 0.3 s after SIGTERM: SIGKILL" in parent.log
    parent.wait_for_silence()


def test_without_a_patience_a_child_ends_when_it_wants_to_or_is_told_twice(
    supervise: Supervise,
) -> None:
    parent = supervise(ENDS_IN_A_MOMENT, patience=None)
    pids(parent, 2)
    assert parent.terminate() == 0
    parent = supervise(LIKE_A_WORKER, patience=None)
    pids(parent, 2)
    send_again(parent, signal.SIGTERM, "heard 2 SIGTERM", 2)
    assert parent.wait() == 1
    assert "SIGKILL" not in parent.log


def test_a_frozen_child_hears_the_signal_too(supervise: Supervise) -> None:
    parent = supervise(PLAIN)
    os.kill(pids(parent, 2)[0], signal.SIGSTOP)
    assert parent.terminate() == 0


@pytest.mark.parametrize("kernel", [True, False], ids=["by the kernel", "by a watcher"])
def test_children_are_told_to_stop_when_their_parent_is_killed(
    kernel: bool, supervise: Supervise
) -> None:
    parent = supervise(PLAIN, kernel=kernel)
    pids(parent, 2)
    parent.process.kill()
    parent.wait_for_silence()


def test_with_watchers_a_killed_child_is_replaced_too(supervise: Supervise) -> None:
    parent = supervise(PLAIN, kernel=False)
    os.kill(pids(parent, 2)[0], signal.SIGKILL)
    pids(parent, 3)
    assert parent.terminate() == 0


# -- a change


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """What the children run, in a directory that is watched."""
    path = tmp_path / "source" / "module.py"
    path.parent.mkdir()
    path.write_text(PREFACE + "say('first')\nwait()")
    return path


@pytest.fixture
def watching(module: Path, supervise: Supervise) -> LoggedProcess:
    """A supervisor whose two children run the module."""
    return supervise("", command=[sys.executable, str(module)], watched=module.parent)


def test_a_changed_file_restarts_all_of_them(watching: LoggedProcess, module: Path) -> None:
    watching.wait_for_logs("first", 2)
    module.with_name("notes.txt").write_text("not Python")
    module.write_text(PREFACE + "say('second')\nwait()")
    watching.wait_for_logs("second", 2)
    assert "module.py changed: restarting" in watching.log
    assert "notes" not in watching.log
    assert watching.terminate() == 0


def test_a_syntax_error_waits_for_the_next_change(watching: LoggedProcess, module: Path) -> None:
    watching.wait_for_logs("first", 2)
    module.write_text("def broken(:")
    watching.wait_for_logs("starts again when a file changes", 2)
    module.write_text(PREFACE + "say('mended')\nwait()")
    watching.wait_for_logs("mended", 2)
    assert watching.log.count("ended with exit code 1") == 2
    assert watching.terminate() == 0


def test_sigterm_while_they_restart_is_not_their_second_signal(
    module: Path, supervise: Supervise
) -> None:
    module.write_text(PREFACE + LIKE_A_WORKER)
    parent = supervise("", command=[sys.executable, str(module)], watched=module.parent)
    pids(parent, 2)
    module.write_text(PREFACE + PLAIN)
    parent.wait_for_logs("heard 1", 2)
    parent.process.send_signal(signal.SIGTERM)
    parent.wait_for_log("SIGTERM: stopping")
    send_again(parent, signal.SIGTERM, "heard 2", 2)
    assert parent.wait() == 1
    assert parent.log.index("stopping at once") < parent.log.index("heard 2")
    assert parent.log.count("up ") == 2


def test_a_directory_that_cannot_be_watched_is_told(supervise: Supervise) -> None:
    parent = supervise(PLAIN, watched=Path("/no/such/directory"))
    assert parent.wait() == 1
    assert "told: cannot watch /no/such/directory: " in parent.log
    assert "--watch-dir" in parent.log
