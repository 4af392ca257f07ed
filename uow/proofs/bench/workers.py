"""The worker processes that are measured: real ones, as a user starts them."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from uow.process.launch import LaunchedWorker
from uow.proofs.bench.app import NAME as APP
from uow.proofs.bench.plan import BenchPlan
from uow.proofs.bench.site import Site


class StartedWorkers:
    """All of them."""

    def __init__(self, processes: Sequence[LaunchedWorker]) -> None:
        self._processes = processes

    def check(self) -> None:
        """Raise if one of them has ended.

        Raises:
            WorkerError: With the end of its log.
        """
        for process in self._processes:
            process.check()


@contextlib.asynccontextmanager
async def open_workers(plan: BenchPlan, site: Site) -> AsyncIterator[StartedWorkers]:
    """Start them; stop all of them at the end. They are not ready yet."""
    arguments = [APP, "--stock"] if plan.stock else [APP]
    place = None if plan.servers else site.directory  # whose settings may name files from here
    with contextlib.ExitStack() as stack:
        processes: list[LaunchedWorker] = []
        for number in range(plan.processes):
            log = site.directory / f"worker-{number}.log"
            process = LaunchedWorker(site.settings, log, *arguments, place=place)
            processes.append(stack.enter_context(process))
        stack.callback(_tell_all, processes)  # before it waits for one after the other
        yield StartedWorkers(processes)


def _tell_all(processes: Sequence[LaunchedWorker]) -> None:
    for process in processes:
        process.terminate()


def peak_memory(pid: int) -> int | None:
    """The largest resident memory that a process has had, in bytes; only Linux tells."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    return None
