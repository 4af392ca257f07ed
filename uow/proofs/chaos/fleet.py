"""Worker processes: real ones, with pids of their own, to be killed, frozen and replaced.

They are forked from a server process that has everything imported already, so that a replacement
works after a few hundredths of a second instead of two seconds. Signals go to pids alone.
"""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from uow.telemetry import logs

PRELOAD = (
    "uow.main",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "asyncpg",
    "uvloop",
)
"""What every worker imports, so that only the first has to."""

RESTART_SECONDS = 0.5
"""Pause before a worker that ended by itself is replaced, as a service manager would make."""

LOOK_SECONDS = 0.02
REAP_SECONDS = 5.0
TAIL_LINES = 15

PR_SET_PDEATHSIG = 1

Target = tuple[Callable[..., None], tuple[object, ...]]
"""What a worker process runs: a function of a module, and its arguments."""


@dataclass(eq=False, slots=True)
class Member:
    """One worker process."""

    slot: int
    process: ForkServerProcess
    log: Path
    killed: bool = False
    frozen: bool = False

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None  # noqa: S101 - it was started
        return self.process.pid

    @property
    def is_awake(self) -> bool:
        """Whether it is not frozen, and so far that it can be: see `_be_worker`."""
        return not self.frozen and self.log.exists()

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; False: it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.process.is_alive():  # else its pid may be somebody else's by now
                os.kill(self.pid, number)
                return True
        return False


class Fleet:
    """Keeps `size` worker processes running; an async context manager that leaves none behind.

    Entering it blocks for the two seconds of the imports. One at a time in a process.

    Args:
        command: What each of them runs.
        size: How many.
        imports: Modules that the command imports, beside what every worker does.
        logs: Directory in which each process gets a log of its own.
        note: Told what happens.

    Attributes:
        exits: The workers that ended though nobody had killed them, with the end of their logs.
    """

    def __init__(
        self,
        command: Target,
        size: int,
        *,
        imports: Sequence[str] = (),
        logs: Path,
        note: Callable[[str], None],
    ) -> None:
        self.exits: list[str] = []
        self._command = command
        self._logs = logs
        self._note = note
        self._slots: list[Member | None] = [None] * size
        self._members: set[Member] = set()
        self._started = 0
        self._closed = False
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOAD, *imports])

    async def __aenter__(self) -> Self:
        for slot in range(len(self._slots)):  # in one go: a half is nothing that could be left
            self._fill(slot)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def pids(self) -> list[int]:
        """Of the processes that are there."""
        return [member.pid for member in self._members]

    async def kill(self, slot: int) -> None:
        """SIGKILL the worker in a slot and put another in its place at once."""
        member = await self._alive(slot)
        member.killed = True
        member.signal(signal.SIGKILL)
        self._fill(member.slot)

    async def freeze(self, slot: int, seconds: float) -> None:
        """SIGSTOP the worker in a slot, and SIGCONT it `seconds` later, if it is still there."""
        member = await self._alive(slot, awake=True)
        member.frozen = member.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        member.frozen = False
        if member.signal(signal.SIGCONT):
            self._note(f"pid {member.pid} goes on")

    async def close(self) -> None:
        """SIGKILL all of them, which frozen ones obey too, and wait for their end."""
        self._closed = True
        members, self._members = self._members, set()
        for member in members:
            asyncio.get_running_loop().remove_reader(member.process.sentinel)
            member.signal(signal.SIGKILL)
        for member in members:
            member.process.join(REAP_SECONDS)
        _stop_forking()

    async def _alive(self, slot: int, *, awake: bool = False) -> Member:
        """The worker in this slot or, while that has none, or none that is awake, in the next."""
        order = [(slot + step) % len(self._slots) for step in range(len(self._slots))]
        while True:
            for member in (self._slots[number] for number in order):
                if member is None or (awake and not member.is_awake):
                    continue
                if member.process.is_alive():
                    return member
            await asyncio.sleep(LOOK_SECONDS)

    def _fill(self, slot: int) -> None:
        if not self._closed:
            self._enrol(self._fork(slot))

    def _fork(self, slot: int) -> Member:
        self._started += 1
        log = self._logs / f"worker-{self._started:04}.log"
        process = self._context.Process(
            target=_be_worker, args=(str(log), *self._command), daemon=True
        )
        process.start()
        return Member(slot, process, log)

    def _enrol(self, member: Member) -> None:
        self._note(f"worker {member.slot} is pid {member.pid}, {member.log.name}")
        self._slots[member.slot] = member
        self._members.add(member)
        asyncio.get_running_loop().add_reader(member.process.sentinel, self._ended, member)

    def _ended(self, member: Member) -> None:
        """Called when the process is gone."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(member.process.sentinel)
        member.process.join()
        self._members.discard(member)
        if member.killed:
            return
        tail = member.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        exit_ = f"pid {member.pid} ended by itself with code {member.process.exitcode}"
        self.exits.append("\n    ".join([f"{exit_}; {member.log.name} ends:", *tail]))
        self._note(self.exits[-1])
        self._slots[member.slot] = None
        loop.call_later(RESTART_SECONDS, self._fill, member.slot)


def _stop_forking() -> None:
    # It would end soon after the command, but nothing of ours is to be seen when that is over.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001 - no public way


def _be_worker(log: str, run: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """What the forked process does."""
    os.setsid()  # Ctrl-C is for the command, which kills us
    _die_with_the_command()
    # The log is there from now on, which says that whoever freezes us leaves nothing behind.
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    logs.configure("INFO")
    run(*arguments)


def _die_with_the_command() -> None:
    """Not to outlive a command that was killed: our parent, which forks, ends when that does.

    It knows by a pipe whose other end the command holds, and each of us would, too.
    """
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]  # noqa: SLF001
    if sys.platform == "linux":  # reaches a frozen process too
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    else:
        threading.Thread(target=_wait_for_its_death, daemon=True).start()


def _wait_for_its_death() -> None:
    command = multiprocessing.parent_process()
    if command is not None:
        command.join()
        os._exit(1)
