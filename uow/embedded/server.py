"""What both servers share: a home, a child process, and the verbs that tests use on them."""

import os
import signal
import socket
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar

from uow.embedded.binaries import Source
from uow.embedded.context import StartStop
from uow.embedded.home import Home, open_home
from uow.embedded.process import ServerProcess
from uow.errors import EmbeddedServerError

START_SECONDS = 10.0
"""Limit from the start of its process to its first answer; usual are 30 to 60 milliseconds."""

POLL_SECONDS = 0.005

LOG_LINES = 15
"""How much of the server's log an error shows."""


class EmbeddedServer(StartStop):
    """One throwaway server: a context manager, plain or async, with verbs for fault tests.

    Starting what runs and stopping what is stopped do nothing. Not safe for use by several
    threads at once.

    Args:
        directory: Where to keep its data, in a subdirectory of its own; the next start with the
            same directory finds them there. Without one they go with `stop`.
        tcp: Listen on a free port of 127.0.0.1, which stays the same over restarts, instead of
            a Unix socket.
        settings: The server's own settings, by its own names; they win over our defaults,
            though not over where it listens and where its data lie.
        binaries: Where its program may come from.
    """

    name: ClassVar[str]
    stop_signals: ClassVar[tuple[signal.Signals, ...]]
    """From polite to stern; the first is also what it is sent when our process dies."""

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        tcp: bool = False,
        settings: Mapping[str, str] | None = None,
        binaries: Source = "any",
    ) -> None:
        self._directory = directory
        self._tcp = tcp
        self._settings = dict(settings or {})
        self._source: Source = binaries
        self._port = 0
        self._home: Home | None = None
        self._process: ServerProcess | None = None
        self._undo = ExitStack()

    # -- what a subclass knows; `home` is there, `log` is the descriptor for a child's output

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a client reaches it."""

    @abstractmethod
    def _find_program(self, home: Home, undo: ExitStack) -> None: ...

    @abstractmethod
    def _prepare(self, home: Home, log: int) -> None: ...

    @abstractmethod
    def _command(self, home: Home) -> list[str]: ...

    @abstractmethod
    def _serves(self) -> bool: ...

    # -- what can be done with it

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running_process().pid

    @property
    def directory(self) -> Path:
        """Where its data, its socket and its log lie."""
        return self._current_home().path

    @property
    def is_running(self) -> bool:
        """Whether its process is there (it may be paused)."""
        return self._process is not None and self._process.is_running

    def start(self) -> None:
        """Start it and return when it has served a client.

        Raises:
            EmbeddedServerError: There is no program to start, or it did not serve within
                `START_SECONDS`; the message ends with the tail of its log. Nothing is left.
        """
        if self.is_running:
            return
        with ExitStack() as undo:
            undo.callback(EmbeddedServer.stop, self)  # a subclass's may want to save something
            home = self._home or self._move_in()
            self._launch(home)
            self._wait_until_it_serves()
            undo.pop_all()

    def stop(self) -> None:
        """Stop it in good order, by force if that takes long, and remove what was temporary."""
        try:
            self._end()
        finally:
            self._home = None
            self._undo.close()

    def restart(self) -> None:
        """Stop it in good order, unless it is dead already, and start it again with its data."""
        self._end()
        self.start()

    def kill9(self) -> None:
        """Kill it as a power cut would; `start` or `restart` brings it back in its directory."""
        self._running_process().kill9()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers.

        A frozen server does not hear that we died: it is the one thing that can outlive us.
        """
        self._running_process().pause()

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._running_process().resume()

    # -- the way to a start

    def _move_in(self) -> Home:
        home = self._home = open_home(self.name, self._directory)
        self._undo.callback(home.close)
        self._find_program(home, self._undo)
        if self._tcp and not self._port:
            self._port = _free_port()
        return home

    def _launch(self, home: Home) -> None:
        with ExitStack() as ours:
            log = home.open_log()
            ours.callback(os.close, log)  # the server keeps its copy, and the lock with it
            self._prepare(home, log)
            self._process = self._run(self._command(home), home, log)

    def _run(self, command: list[str], home: Home, log: int) -> ServerProcess:
        return ServerProcess(command, home=home, output=log, death_signal=self.stop_signals[0])

    def _wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError):  # no socket yet, or nobody behind it
                if self._serves():
                    return
            if not self.is_running:
                raise self._failure("ended while it started")
            if time.monotonic() > deadline:
                raise self._failure(f"did not serve within {START_SECONDS:.0f} seconds")
            time.sleep(POLL_SECONDS)

    def _end(self) -> None:
        if self._process is not None:
            self._process.stop(self.stop_signals)
            self._process = None

    def _failure(self, what: str) -> EmbeddedServerError:
        tail = self._current_home().log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return EmbeddedServerError("\n".join([f"{self.name} {what}; its log ends:", *tail]))

    def _current_home(self) -> Home:
        if self._home is None:
            raise EmbeddedServerError(f"{self.name} has not been started")
        return self._home

    def _running_process(self) -> ServerProcess:
        if self._process is None or not self._process.is_running:
            raise EmbeddedServerError(f"{self.name} is not running")
        return self._process


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
