"""Who does the demo's work: one worker, as a user starts it, or a fleet that is under fire."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from uow.process.launch import LaunchedWorker, tail
from uow.proofs.chaos.fleet import Fleet
from uow.run import run_tasks
from worker.demo.house import APP, House
from worker.main import app

LEASE_SECONDS = 4.0
"""In a fleet: shorter than a worker is frozen, so that others take over what it comes back to."""

CONCURRENCY_IN_FLEET = 10

GRACE_SECONDS = 1.0


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


@contextlib.asynccontextmanager
async def open_one_worker(house: House) -> AsyncIterator[LaunchedWorker]:
    """Start `worker run`; stop it at the end."""
    house.logs.mkdir()
    log = house.logs / "worker.log"
    with LaunchedWorker(house.settings, log, APP, place=house.logs) as process:
        yield process


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
        return "\n".join([*self.fleet.exits[-1:], *map(tail, logs[-1:])])


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
    command = (run_tasks, (mine, app))
    fleet = Fleet(command, size, imports=("worker.tasks",), logs=house.logs, note=note)
    async with fleet:
        yield FleetOfWorkers(fleet, house.logs)
