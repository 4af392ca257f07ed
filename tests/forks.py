"""Forks of a server process that has imported what workers import: `tests.forkserver`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

from tests.forkserver import NUMBER


class ForkedProcess:
    """What tests use of `subprocess.Popen`, for a process whose parent is the server."""

    def __init__(self, pid: int, lifeline: socket.socket) -> None:
        self.pid = pid
        self._lifeline = lifeline
        weakref.finalize(self, lifeline.close)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, as soon as the process has ended."""
        code = self._exit_code(timeout)
        if code is None:
            raise TimeoutError(f"process {self.pid} has not ended within {timeout} s")
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # else its pid may be somebody else's by now
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _exit_code(self, timeout: float | None) -> int | None:
        if not wait([self._lifeline], timeout):
            return None
        # It is left there, for any thread that asks at any time.
        return _number(self._lifeline.recv(NUMBER.size, socket.MSG_PEEK))


class ForkServer:
    """The test process's side; the server starts with the first process that is asked for.

    It ends, and kills what it has forked, when it is closed or when the test process is gone.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._server: tuple[subprocess.Popen[str], socket.socket] | None = None

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdout: int, stderr: int,
        *, directory: Path | None = None,
    ) -> ForkedProcess:  # fmt: skip
        """Start `python -m uow` with these arguments and exactly this environment.

        Args:
            directory: Where it stands; the server's own by default.

        What Python reads when it starts, or a library when it is imported, is as it was for the
        first process.
        """
        with self._lock:
            server, channel = self._server = self._server or self._launch(environment)
        request = [arguments, dict(environment), str(directory or self._directory)]
        lifeline, theirs = socket.socketpair()
        with suppress(BrokenPipeError), theirs:
            socket.send_fds(channel, [b"+"], [stdout, stderr, theirs.fileno()])
            lifeline.sendall(json.dumps(request).encode() + b"\n")
        pid = lifeline.recv(NUMBER.size)
        if not pid:
            raise RuntimeError(f"the fork server has ended:\n{server.communicate()[1]}")
        return ForkedProcess(_number(pid), lifeline)

    def close(self) -> None:
        """End it, if it was started."""
        if self._server is not None:
            server, channel = self._server
            channel.close()
            server.communicate()
            self._server = None

    def _launch(
        self, environment: Mapping[str, str]
    ) -> tuple[subprocess.Popen[str], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            server = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", str(theirs.fileno())],
                env=environment, cwd=self._directory, pass_fds=[theirs.fileno()], text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for pytest, which ends us
            )  # fmt: skip
        return server, ours


def _number(message: bytes) -> int:
    return int(*NUMBER.unpack(message))
