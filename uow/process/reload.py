"""Restarts the processes when you save a file: ``worker run --watch``, for development."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Protocol

from watchfiles import PythonFilter, awatch
from watchfiles.main import FileChange

from uow.errors import WorkerError

logger = logging.getLogger(__name__)


class Restartable(Protocol):
    """What a change restarts: a `Supervisor`, which is the one that imports this file."""

    async def run(self) -> int:
        """Run until told to stop; returns the exit code."""

    def stop(self, reason: str) -> None:
        """End it."""

    def restart(self, reason: str) -> None:
        """Start all of its processes anew."""


async def run_reloading(supervisor: Restartable, directory: Path) -> int:
    """Run the supervisor, and let it restart its processes when a file below `directory` changes.

    Args:
        supervisor: One that waits for changes.
        directory: An absolute path.

    Returns:
        Its exit code.

    Raises:
        WorkerError: The directory cannot be watched (any more); the processes have ended.
    """
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it says what we say
    # First the watch, then the processes: what is saved while they start is not missed.
    watching = asyncio.create_task(_restart_on_change(supervisor, directory))
    running = asyncio.create_task(supervisor.run())
    await asyncio.wait([watching, running], return_when=asyncio.FIRST_COMPLETED)
    if watching.done():
        supervisor.stop("the watch has ended")
    exit_code = await running
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return exit_code


async def _restart_on_change(supervisor: Restartable, directory: Path) -> None:
    logger.info("watching %s", directory)
    try:
        async for changes in awatch(directory, watch_filter=PythonFilter()):
            supervisor.restart(_describe(changes, directory))
    except (OSError, RuntimeError) as error:
        raise WorkerError(
            f"cannot watch {directory}: {error}; watch a smaller one with --watch-dir, "
            "or set WATCHFILES_FORCE_POLLING=true"
        ) from error


def _describe(changes: set[FileChange], directory: Path) -> str:
    first, *others = sorted(Path(path) for _, path in changes)
    if first.is_relative_to(directory):
        first = first.relative_to(directory)
    more = f" and {len(others)} more" if others else ""
    return f"{first}{more} changed"
