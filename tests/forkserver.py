"""Forks `python -m uow …` from a process that has imported everything already.

It is a process of its own, which `tests.forks` starts and talks to. A fork leaves the server's loop
and goes on as the main program of its interpreter, so that it ends like a fresh start: with its
exit hooks, its traceback, its exit code or signal. (`multiprocessing`'s fork server ends its forks
by `os._exit`, runs the caller's `__main__` in them again, and gets an exit code wrong if two
threads ask for it.)

For each fork the channel carries one byte, with descriptors: its standard output, its standard
error and its lifeline. That carries a line of JSON to it; back, its pid and at last its exit code.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from typing import NamedTuple

PRELOAD = (
    "uow.cli.enqueue",
    "uow.cli.intervene",
    "uow.cli.start_worker",
    "uow.db.migrations",
    "uow.main",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "uvloop",
)
"""What workers import. No module with task functions: it would register them in every worker."""

NUMBER = struct.Struct("q")


class Request(NamedTuple):
    """What a fork is to become."""

    descriptors: list[int]
    lifeline: socket.socket
    arguments: list[str]
    environment: dict[str, str]
    directory: str

    def fulfil(self) -> None:
        """Become it."""
        for descriptor, stream in zip(self.descriptors, (sys.stdout, sys.stderr), strict=True):
            os.dup2(descriptor, stream.fileno())
        self.close()
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.directory)
        sys.path[0] = self.directory  # as `python -m` does
        importlib.import_module("uow.failpoints").arm(os.environ)
        sys.argv[1:] = self.arguments
        runpy.run_module("uow", run_name="__main__", alter_sys=True)

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def receive(channel: socket.socket) -> Request | None:
    """The next request; None when the test process has closed the channel or is gone."""
    message, descriptors, _, _ = socket.recv_fds(channel, 1, 3)
    if not message:
        return None
    lifeline = socket.socket(fileno=descriptors.pop())
    with lifeline.makefile("rb") as lines:
        return Request(descriptors, lifeline, *json.loads(lines.readline()))


class Server:
    """The server's side: forks until the channel ends, and reports how each fork has ended."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lifelines: dict[int, socket.socket] = {}
        self._ended, self._wakeup = socket.socketpair()

    def serve(self) -> Request | None:
        """Returns in each fork, with what it is to become, and at last in the server."""
        self._wakeup.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup.fileno())
        try:
            while True:
                ready = wait([self._channel, self._ended])
                if self._ended in ready:
                    self._reap()
                if self._channel in ready:
                    request = receive(self._channel)
                    if request is None or self._fork(request):
                        return request
        finally:
            for pid in self._lifelines:  # nobody has reaped them, so the pids are theirs
                os.kill(pid, signal.SIGKILL)

    def _fork(self, request: Request) -> bool:
        """Whether this is the fork."""
        self._lifelines[pid := os.fork()] = request.lifeline
        if pid == 0:
            self._leave()
            return True
        request.close()
        _tell(request.lifeline, pid)
        return False

    def _leave(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for ours in (self._channel, self._ended, self._wakeup, *self._lifelines.values()):
            ours.close()
        self._lifelines.clear()

    def _reap(self) -> None:
        self._ended.recv(4096)
        for pid in list(self._lifelines):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                with self._lifelines.pop(pid) as lifeline:
                    _tell(lifeline, os.waitstatus_to_exitcode(status))


def _tell(lifeline: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody wants to know any more
        lifeline.sendall(NUMBER.pack(number))


def main() -> None:
    for name in PRELOAD:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork has one thread only"
    gc.freeze()  # else a fork that ends looks at every object, and so copies all memory: 0.3 s
    request = Server(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is not None:
        request.fulfil()


if __name__ == "__main__":
    main()
