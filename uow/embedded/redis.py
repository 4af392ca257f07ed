"""A throwaway Redis (Valkey, where there is one)."""

import shlex
import shutil
import signal
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from uow.embedded.binaries import Source, find_redis
from uow.embedded.home import Home
from uow.embedded.server import EmbeddedServer
from uow.errors import EmbeddedServerError

DEFAULTS = {"save": "", "appendonly": "no"}

SAVE_SECONDS = 10.0
"""How long an orderly end may take before signals are used."""

SNAPSHOT = "dump.rdb"
DATA_FILES = (SNAPSHOT, "appendonly.aof", "appendonlydir")


class EmbeddedRedis(EmbeddedServer):
    """A Redis that has its data in memory alone.

    So `kill9` loses them. They are carried over an orderly `restart`, and over `stop` where a
    directory was given, by a snapshot that the next start reads and removes: after a kill there
    is nothing, rather than something old. `settings` can switch on Redis's own persistence.

    There is no password: with `tcp` every local user can connect.

    Args:
        directory: As for every `EmbeddedServer`.
        tcp: As for every `EmbeddedServer`.
        settings: Names and values as in `redis.conf`.
        binaries: As for every `EmbeddedServer`.
    """

    name: ClassVar[str] = "redis"
    stop_signals: ClassVar[tuple[signal.Signals, ...]] = (signal.SIGTERM,)
    _program: Path

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        tcp: bool = False,
        settings: Mapping[str, str] | None = None,
        binaries: Source = "any",
    ) -> None:
        chosen = {**DEFAULTS, **(settings or {})}
        super().__init__(directory, tcp=tcp, settings=chosen, binaries=binaries)

    @property
    def url(self) -> str:
        """Of database 0, for redis-py and arq."""
        if self._tcp:
            self._current_home()
            return f"redis://127.0.0.1:{self._port}/0"
        return f"unix://{self._socket}?db=0"  # not quoted: arq takes the path as it is

    def start(self) -> None:
        """Start it and return when it has answered; as `EmbeddedServer.start`."""
        super().start()
        if not self._settings["save"]:
            (self.directory / SNAPSHOT).unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop it; what it knew is kept if a directory was given.

        Raises:
            EmbeddedServerError: It could not be kept. The server is stopped all the same.
        """
        try:
            self._shut_down(keep_data=self._directory is not None)
        finally:
            super().stop()

    def restart(self, *, lose_data: bool = False) -> None:
        """Stop it and start it again, with its data or, for a fault test, without any.

        Raises:
            EmbeddedServerError: As `start`; or its data could not be kept, and it still runs.
        """
        if lose_data:
            self._lose_data()
        else:
            self._shut_down(keep_data=True)
        super().restart()

    def _shut_down(self, *, keep_data: bool) -> None:
        """By command, for that can save, and a signal is heeded ten times a second only."""
        if not self.is_running:
            return
        self.resume()
        try:
            complaint = self._ask(
                b"SHUTDOWN SAVE" if keep_data else b"SHUTDOWN NOSAVE", SAVE_SECONDS
            )
        except OSError as error:
            complaint = str(error).encode()
        if complaint and keep_data:  # when all is well it ends without an answer
            raise EmbeddedServerError(f"redis did not save its data: {complaint.decode()}")

    def _lose_data(self) -> None:
        if self.is_running:
            self.kill9()
        for name in DATA_FILES:
            path = self.directory / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _find_program(self, home: Home, undo: ExitStack) -> None:
        self._program = find_redis(self._source, home.account, undo)

    def _prepare(self, home: Home, log: int) -> None:
        """Nothing: Redis makes its files itself."""

    def _command(self, home: Home) -> list[str]:
        place = {
            "bind": "127.0.0.1",
            "port": str(self._port),  # 0: no TCP
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(home.path),
            "dbfilename": SNAPSHOT,
            "daemonize": "no",
        }
        command = [str(self._program)]
        for name, value in self._settings.items():
            command += [f"--{name}", *(shlex.split(value) or [""])]
        for name, value in place.items():
            command += [f"--{name}", value]
        return command

    def _serves(self) -> bool:
        """Whether it answers a PING; while it is loading it answers with an error."""
        return self._ask(b"PING", 1.0).startswith(b"+PONG")

    def _ask(self, command: bytes, seconds: float) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(seconds)
            client.connect(str(self._socket))
            client.sendall(command + b"\r\n")
            return client.recv(64)

    @property
    def _socket(self) -> Path:
        return self.directory / "redis.sock"
