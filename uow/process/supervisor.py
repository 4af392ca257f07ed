"""Runs several worker processes and starts a crashed one again: ``worker run --processes N``.

The parent touches neither Postgres nor Redis: it starts, waits, starts again and passes signals on.
Of yours it imports the module of the App, for its settings, or what is named with a colon, to see
what that is; and no task module, unless those do. (Its memory is that of the package's imports,
nearly a worker's.)

| its process … | without ``--watch`` | with ``--watch`` |
|---|---|---|
| ends with 0 by itself under ``--burst`` | is done | is started again when a file changes |
| ends by itself otherwise, also with 0 | is started again after a pause | is started again when a file changes |
| ends after it was told to stop | is done | is done, or started again if a file has changed |
"""  # noqa: E501 - a table

import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uow.process.child import Child, Ended
from uow.process.exposition import check_installed
from uow.process.muster import Muster, Post, answering
from uow.process.reception import Ports
from uow.process.restarts import HOPELESS_ROUNDS, STARTED_SECONDS, Restarts
from uow.process.signals import SignalCount, end_at_once, heeded_signals
from uow.settings.environment import Settings

logger = logging.getLogger(__name__)

PATIENCE_MARGIN = 3.0
"""Seconds beyond the grace before SIGKILL: a worker ends itself hard 1.5 s after its grace."""

OPTIONS = {"--processes": 1, "--watch": 0, "--watch-dir": 1}
"""The supervisor's own options, and how many values follow each; its children do not get them."""

NO_PORTS = Ports()

NEVER_STARTED = Ended(code=1, lived=0.0, told=False)


def supervise(
    settings: Settings,
    processes: int = 1,
    watched: Path | None = None,
    *,
    burst: bool = False,
    needs_database: bool = True,
) -> int:
    """Run `processes` workers like this one until they are done or told to stop.

    Args:
        settings: Those of this process; its children read their own, which are the same.
        processes: How many.
        watched: Restart them when a Python file below this directory changes.
        burst: They end by themselves, when nothing is due.
        needs_database: They run our tasks, and would all stumble over a missing database. Those of
            an arq class have its grace, which only they know: they end themselves when it is over.

    Returns:
        The exit code: 0 if each of them has ended well, else that of the first one that has not.

    Raises:
        SettingsError: No worker could run with these settings.
        WorkerError: The directory cannot be watched.
    """
    if needs_database:
        settings.require_database()
    if settings.metrics_port is not None:
        check_installed()
    supervisor = Supervisor(
        child_command(sys.orig_argv),
        processes,
        patience=settings.shutdown_grace + PATIENCE_MARGIN if needs_database else None,
        burst=burst,
        waits_for_change=watched is not None,
        app=settings.app if needs_database else None,
        ports=Ports.of(settings),
    )
    if watched is None:
        return asyncio.run(supervisor.run())
    from uow.process.reload import run_reloading  # its library is an extra

    return asyncio.run(run_reloading(supervisor, watched.resolve()))


def child_command(ours: Sequence[str]) -> list[str]:
    """The command line of a child: `ours` without the supervisor's options.

    `ours` has the interpreter's part, too, so that a child is started as we were.
    """
    command, rest = [sys.executable], list(ours[1:])
    while rest:
        word = rest.pop(0)
        if word == "--":  # no options from here on
            return [*command, word, *rest]
        name, equals, _ = word.partition("=")
        if name not in OPTIONS:
            command.append(word)
        elif not equals:
            del rest[: OPTIONS[name]]
    return command


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one process after another.

    Attributes:
        number: From 0.
        child: The process, as long as it runs.
        vacancy: Why there is none.
        wake: Set when there is nothing to wait for before the next one.
    """

    number: int
    child: Child | None = None
    vacancy: str = "has not been started yet"
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self, patience: float | None, *, again: bool = False) -> None:
        """Tell the process once, or `again`, to stop."""
        self.wake.set()
        if self.child is not None and (again or not self.child.told):
            self.child.stop(patience)


class Supervisor:
    """Keeps `count` processes running.

    Args:
        command: What each of them runs.
        count: How many.
        patience: Seconds that a process gets to end after SIGTERM; then SIGKILL. None: no SIGKILL.
        burst: Who ends with 0 by itself is done.
        waits_for_change: Whoever ends by itself is started again by `restart` alone.
        app: Whose processes they are; None: an arq class's, which nobody is told of.
        ports: Where probes and scrapers are told.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        *,
        patience: float | None,
        burst: bool = False,
        waits_for_change: bool = False,
        app: str | None = None,
        ports: Ports = NO_PORTS,
    ) -> None:
        self._command = command
        self._slots = [Slot(number) for number in range(count)]
        self._patience = patience
        self._burst = burst
        self._waits_for_change = waits_for_change
        self._restarts = Restarts(count)
        self._stopping = False
        self._signals = SignalCount()
        self._is_hopeless = False
        self._app, self._ports = app, ports

    async def run(self) -> int:
        """Start them and wait until each of them has ended for good; returns our exit code."""
        try:
            async with self._answering(), self._signals_handled():
                codes = await asyncio.gather(*(self._keep(slot) for slot in self._slots))
        finally:
            for child in self._children():  # none, unless something of ours has failed
                child.kill9()
        return 1 if self._is_hopeless else next((code for code in codes if code), 0)

    def stop(self, reason: str) -> None:
        """Tell each process to stop and start none any more; a second call tells them again."""
        again, self._stopping = self._stopping, True
        logger.info("%s: stopping%s", reason, " at once" if again else "")
        for slot in self._slots:
            slot.stop(self._patience, again=again)

    def restart(self, reason: str) -> None:
        """Stop each process that runs, and start all of them."""
        logger.info("%s: restarting", reason)
        for slot in self._slots:
            slot.stop(self._patience)

    async def _keep(self, slot: Slot) -> int:
        """Keep one slot filled; returns the exit code of the last process in it."""
        exit_code = 0
        while not self._stopping:
            ended = await self._live(slot)
            exit_code = ended.exit_code
            if self._stopping or ended.told:
                continue
            if ended.code == 0 and self._burst and not self._waits_for_change:
                break
            await self._pause(slot, ended)
        return exit_code

    async def _live(self, slot: Slot) -> Ended:
        """From the start of a process to its end."""
        slot.wake.clear()
        try:
            slot.child = Child(self._command)
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("process %d cannot be started: %s", slot.number, error)
            return NEVER_STARTED
        logger.info("process %d started: pid %d", slot.number, slot.child.pid)
        ended = await slot.child.ended
        unasked = ended.code == 0 and not ended.told and not self._burst
        logger.log(
            logging.WARNING if unasked or ended.exit_code else logging.INFO,
            "process %d (pid %d) %s%s", slot.number, slot.child.pid, ended,
            ", though we had not told it to stop" if unasked else "",
        )  # fmt: skip
        slot.child = None
        return ended

    async def _pause(self, slot: Slot, ended: Ended) -> None:
        """Wait for the time to start it again, or for a change, or for the end."""
        seconds = self._seconds_to_wait(slot, ended)
        if self._stopping:
            return
        when = "when a file changes" if seconds is None else f"in {seconds:g} s"
        slot.vacancy = f"{ended} and starts again {when}"
        logger.info("process %d starts again %s", slot.number, when)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await slot.wake.wait()

    def _seconds_to_wait(self, slot: Slot, ended: Ended) -> float | None:
        if self._waits_for_change:
            return None
        seconds = self._restarts.pause_after(slot.number, ended.lived, by_signal=ended.code < 0)
        if seconds is None:
            self._is_hopeless = True
            logger.critical(
                "each process has ended %d times before it had run for %g s: giving up; "
                "the reason is in the lines above", HOPELESS_ROUNDS, STARTED_SECONDS,
            )  # fmt: skip
            self.stop("nothing works")
        return seconds

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Say how the processes are, to whoever asks."""
        if self._app is None:
            yield
            return
        muster = Muster(self._app, lambda: [_post(slot) for slot in self._slots], self._is_stopping)
        async with answering(muster, self._ports):
            yield

    def _is_stopping(self) -> bool:
        return self._stopping

    @contextlib.asynccontextmanager
    async def _signals_handled(self) -> AsyncIterator[None]:
        """Pass on what stops us; reap whoever has ended."""
        loop = asyncio.get_running_loop()
        heeded = heeded_signals()
        for number in heeded:
            loop.add_signal_handler(number, self._hear, number)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        try:
            yield
        finally:
            for number in (*heeded, signal.SIGCHLD):
                loop.remove_signal_handler(number)
            end_at_once()

    def _hear(self, number: signal.Signals) -> None:
        if self._signals.hear():
            self.stop(number.name)

    def _reap(self) -> None:
        for child in self._children():  # one SIGCHLD may stand for several
            child.reap()

    def _children(self) -> list[Child]:
        return [slot.child for slot in self._slots if slot.child is not None]


def _post(slot: Slot) -> Post:
    if slot.child is None:
        return Post(slot.number, None, slot.vacancy)
    return Post(slot.number, slot.child.pid, slot.vacancy, slot.child.age)
