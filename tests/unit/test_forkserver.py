"""A process that was forked is one that was started, but for the time it takes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from tests.integration.test_embedded import is_gone, wait_until
from tests.processes import ROOT, WorkerProcess, environment_of
from uow import Settings

SETTINGS = Settings(
    database_url=SecretStr("postgresql://nowhere/d"),
    task_modules=("tests.unit.probe",),
)

FACTS = """
import asyncio, json, logging, os, random, signal, stat, sys, threading
from uow.tasks.registry import default_registry
def loop():
    try:
        return repr(asyncio.get_event_loop_policy()._local._loop)
    except AttributeError:
        return None
def handler(number):
    found = signal.getsignal(number)
    return getattr(found, "__qualname__", repr(found))
def kind(descriptor):
    return stat.filemode(os.fstat(descriptor).st_mode)
print(json.dumps({
    "environment": dict(os.environ), "arguments": sys.argv, "directory": os.getcwd(),
    "path": sys.path, "flags": sys.flags, "main": sys.modules["__main__"].__file__,
    "descriptors": {n: kind(n) for n in range(64) if os.path.exists(f"/dev/fd/{n}")},
    "signals": {n: handler(n) for n in sorted(signal.valid_signals())},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "threads": threading.active_count(), "is_main": threading.current_thread().name,
    "wakeup": signal.set_wakeup_fd(-1), "loop": loop(),
    "logging": [str(logging.root.level), *map(repr, logging.root.handlers)],
    "task functions": default_registry.names,
}, default=str))
sys.stdout.flush()
os._exit(0)
"""


@contextmanager
def probe(what: str, failpoint: str = "", *, fresh: bool = False) -> Iterator[WorkerProcess]:
    environment = {"PROBE": what, "FAILPOINT": failpoint}
    process = WorkerProcess(SETTINGS, ("--burst",), environment, fresh=fresh)
    try:
        yield process
    finally:
        process.kill9()


def outcome_of(what: str, failpoint: str = "") -> tuple[int, str]:
    with probe(what, failpoint) as process:
        return process.wait(), process.log


def test_it_cannot_be_told_from_a_fresh_one() -> None:
    facts = []
    for fresh in (True, False):
        with probe(FACTS, fresh=fresh) as process:
            assert process.wait() == 0, process.log
            facts.append(json.loads(process.log))
    assert facts[0]["task functions"] == []
    assert facts[1] == facts[0]


@pytest.mark.parametrize(
    ("what", "code", "last_words"),
    [
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('bye')", 1, "bye"),
        ("import os; os._exit(4)", 4, ""),
        ("import os; os.abort()", -signal.SIGABRT, ""),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV, ""),
        ("raise BaseException('odd')", 1, "BaseException: odd"),
        ("raise KeyboardInterrupt", -signal.SIGINT, ""),
        ("import atexit; atexit.register(print, 'at last'); raise SystemExit", 0, "at last"),
    ],
)
def test_its_end_is_told_as_it_was(what: str, code: int, last_words: str) -> None:
    with probe(what) as process:
        assert process.wait() == code, process.log
        assert process.log.rstrip().endswith(last_words)
        assert process.process.poll() == code


def test_signals_reach_it() -> None:
    with probe("import time; print('there', flush=True); time.sleep(60)") as process:
        process.wait_for_log("there")
        process.process.send_signal(signal.SIGSTOP)
        assert process.process.poll() is None
        process.kill9()
        assert process.wait() == -signal.SIGKILL


def test_two_do_not_draw_the_same_random_numbers() -> None:
    what = "import random; print(random.random()); raise SystemExit"
    assert outcome_of(what) != outcome_of(what)


def test_each_has_the_failpoint_of_its_own_environment() -> None:
    what = "from uow.failpoints import reach; reach('leased'); raise SystemExit"
    assert outcome_of(what, "leased:kill")[0] == -signal.SIGKILL
    assert outcome_of(what) == (0, "")


TEST_PROCESS = """
from tests.processes import fork_server
from tests.unit.test_forkserver import probe
with probe("import time; print('there', flush=True); time.sleep(60)") as process:
    process.wait_for_log("there")
    print(process.pid, fork_server._server[0].pid, flush=True)
    input()
"""


@pytest.mark.parametrize("frozen", [False, True])
def test_nothing_outlives_a_test_process_that_is_killed(frozen: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TEST_PROCESS], env=environment_of(SETTINGS), cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as test_process:  # fmt: skip
        assert test_process.stdout is not None
        pids = test_process.stdout.readline().split()
        if frozen:
            os.kill(int(pids[0]), signal.SIGSTOP)
        test_process.kill()
    assert len(pids) == 2
    wait_until(lambda: all(is_gone(int(pid)) for pid in pids))
