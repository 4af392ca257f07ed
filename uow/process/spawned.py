"""A child process of ours that answers one question at a time, and does not outlive us.

Spawned, and never forked: it has nothing of ours but its end of a socket. It has a process group of
its own, so that Ctrl-C is for us. On Linux the kernel ends it with us, however we end; elsewhere it
looks by itself whether we are there.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Self

from uow.process.orphans import KERNEL_SIGNALS_ORPHANS, die_with

LENGTH_BYTES = 8
"""Before each message: how long it is."""

REAP_SECONDS = 1.0
"""So long a killed process may take to be gone."""

LOOK_SECONDS = 0.2
"""Between two looks of a child at who its parent is, where the kernel does not tell it."""

_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import main; main({parent}, {end})"


class ChildEnded(Exception):
    """The child has ended in the middle of a question.

    Attributes:
        code: Its exit code, or minus the number of the signal that has ended it; None: not known.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Spawned:
    """A child process, as its parent knows it; to be made in the event loop's thread.

    Args:
        module: What it runs: its ``main(parent, descriptor)``.

    Raises:
        OSError: There are too many processes.

    Attributes:
        known: What it has been told for as long as it lives; for who asks.
    """

    def __init__(self, module: str) -> None:
        self.known: set[str] = set()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._ours, theirs = socket.socketpair()
        try:
            program = _PROGRAM.format(
                path=sys.path, module=module, parent=os.getpid(), end=theirs.fileno()
            )
            self._process = subprocess.Popen(  # noqa: S603 - we ourselves
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    async def ask(self, question: bytes) -> bytes:
        """Its answer; who is cancelled meanwhile has to end it.

        Raises:
            ChildEnded: It has ended.
        """
        try:
            if self._streams is None:
                self._ours.setblocking(False)
                self._streams = await asyncio.open_unix_connection(sock=self._ours)
            reader, writer = self._streams
            writer.write(len(question).to_bytes(LENGTH_BYTES) + question)
            await writer.drain()
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
            return await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            await self.gone()
            raise ChildEnded(self._process.returncode) from None

    def kill(self) -> None:
        """SIGKILL, at once."""
        self._process.kill()
        if self._streams is not None:
            self._streams[1].transport.abort()
        else:
            self._ours.close()

    async def gone(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        until = time.monotonic() + REAP_SECONDS
        while self.is_alive and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)

    def end(self) -> None:
        """Kill it, and wait for that."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)


class ParentEnd:
    """The parent, as its child knows it.

    Args:
        parent: Its process id.
        descriptor: Of the child's end of the socket.
    """

    def __init__(self, parent: int, descriptor: int) -> None:
        die_with(parent, signal.SIGKILL)
        if not KERNEL_SIGNALS_ORPHANS:
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._process = os.getpid()
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._stream = self._socket.makefile("rwb")

    def question(self) -> bytes | None:
        """The next question; None: the parent has gone."""
        head = self._stream.read(LENGTH_BYTES)
        if len(head) < LENGTH_BYTES:
            return None
        length = int.from_bytes(head)
        read = self._stream.read(length)
        return read if len(read) == length else None

    def answer(self, answer: bytes) -> None:
        """Answer the last question; a fork that comes back from it ends here."""
        if os.getpid() != self._process:
            os._exit(1)
        self._stream.write(len(answer).to_bytes(LENGTH_BYTES) + answer)
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)
