"""Who does the demo's work: one worker, as a user starts it, or a fleet that is under fire."""

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from worker.chaos.fleet import Fleet
from worker.demo.house import House
from worker.errors import WorkerError
from worker.run import run_tasks
from worker.settings import Settings

LEASE_SECONDS = 4.0
"""In a fleet: shorter than a worker is frozen, so that others take over what it comes back to."""

CONCURRENCY_IN_FLEET = 10

GRACE_SECONDS = 1.0

STOP_SECONDS = 15

TAIL_LINES = 15


class Workers(Protocol):
    """The demo's workers.

    Attributes:
        log: What `tail -f` shows of them.
    """

    log: Path

    def check(self) -> None:
        """Raise if nobody is there to do the work."""

    def last_words(self) -> str:
        """The end of what they have to say."""


class OneWorker:
    """`worker run` in a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.log = log
        self._process = process

    def check(self) -> None:
        """Raise if it has ended."""
        if self._process.poll() is not None:
            code = self._process.returncode
            raise WorkerError(f"the worker ended with code {code}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return _tail(self.log)


@contextlib.asynccontextmanager
async def open_one_worker(house: House) -> AsyncIterator[OneWorker]:
    """Start it; stop it at the end."""
    house.logs.mkdir()
    log = house.logs / "worker.log"
    with _worker_process(house.settings, log) as process:
        yield OneWorker(process, log)


class FleetOfWorkers:
    """Processes that are killed and replaced."""

    def __init__(self, fleet: Fleet, logs: Path) -> None:
        self.log = logs / "worker-*.log"
        self.fleet = fleet
        self._logs = logs

    def check(self) -> None:
        """Nothing: whoever ends is replaced."""

    def last_words(self) -> str:
        """How those ended that nobody had killed, and the end of the youngest's log."""
        logs = sorted(self._logs.glob("worker-*.log"))
        return "\n".join([*self.fleet.exits[-1:], *map(_tail, logs[-1:])])


@contextlib.asynccontextmanager
async def open_fleet(
    house: House, size: int, note: Callable[[str], None]
) -> AsyncIterator[FleetOfWorkers]:
    """Start `size` workers; kill them at the end."""
    mine = house.settings.model_copy(
        update={
            "concurrency": CONCURRENCY_IN_FLEET,
            "lease_seconds": LEASE_SECONDS,
            "shutdown_grace": GRACE_SECONDS,
        }
    )
    fleet = Fleet((run_tasks, (mine,)), size, imports=("worker.tasks",), logs=house.logs, note=note)
    async with fleet:
        yield FleetOfWorkers(fleet, house.logs)


@contextlib.contextmanager
def _worker_process(settings: Settings, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            env=environment(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a worker process has these settings, and no others of ours."""
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("WORKER_")}
    return {**inherited, **environment_variables(settings)}


def environment_variables(settings: Settings) -> dict[str, str]:
    """`settings` as environment variables."""
    values = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    return {
        f"WORKER_{name.upper()}": (
            value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        )
        for name, value in values.items()
    }


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
