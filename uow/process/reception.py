"""Where a worker process is asked: a thread that does nothing else.

It begins before everything that may take long and is not held up by what a task does, so it answers
while the process starts, stops, or is blocked. Whoever asks comes over a unix socket
(`worker check`, the supervisor: `uow.process.roster`) or through a door, which is a port.
"""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Self

from uow.errors import SettingsError
from uow.process import forks, roster
from uow.process.exposition import METRICS
from uow.process.health import LIVE, READY, Health
from uow.process.http_server import HttpServer, Route, open_port
from uow.process.roster import Entry
from uow.process.supervised import is_supervised
from uow.settings.environment import Settings

logger = logging.getLogger(__name__)

Routes = Mapping[str, Route]


@dataclass(frozen=True, slots=True)
class Door:
    """A port on which a part of the routes is served.

    Attributes:
        setting: Which one says the port.
        port: 0 takes a free one.
        routes: What is served.
    """

    setting: str
    port: int
    routes: Routes

    def open(self) -> socket.socket:
        """A socket on the port.

        Raises:
            SettingsError: It cannot be listened on.
        """
        try:
            listener = open_port(self.port)
        except OSError as error:
            raise SettingsError(
                f"{self.setting}={self.port}: {error.strerror or error}; workers on one host need "
                "a port each, those of `worker run --processes` one together"
            ) from None
        port, paths = listener.getsockname()[1], ", ".join(sorted(self.routes))
        logger.info("listening on port %d: %s", port, paths)
        return listener


class Reception:
    """The thread, and what it serves. It can be opened again.

    Args:
        app: Whose process this is.
        routes: What is answered on the unix socket.
        doors: Where it is answered over TCP.
    """

    def __init__(self, app: str, routes: Routes, doors: Sequence[Door] = ()) -> None:
        self._app, self._routes, self._doors = app, routes, doors
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to answer, unless it does.

        Raises:
            SettingsError: A port cannot be listened on.
        """
        if self._thread is not None:
            return
        served, entry = open_all(self._app, self._routes, self._doors)
        self._loop = loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        turn = partial(_turn, loop, served, entry, self._closed)
        thread = threading.Thread(target=turn, name="uow.process.reception", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # this process may have no more
            logger.warning("nobody answers for this process: %s", error)
            _leave(loop, served, entry)
            return
        self._thread = thread

    def close(self) -> None:
        """Answer no more."""
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by an error
                self._loop.call_soon_threadsafe(self._closed.set)
            thread.join()


class Ports(NamedTuple):
    """Where the doors are; None: there is none.

    Attributes:
        health: For probes.
        metrics: For scrapers; the same one, if that is said.
    """

    health: int | None = None
    metrics: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As they are set."""
        return cls(settings.health_port, settings.metrics_port)


def reception_of(health: Health, ports: Ports, routes: Routes) -> Reception:
    """That of a worker process; a supervisor's has no port, for its parent answers there.

    Args:
        health: Its health.
        ports: Those of its settings.
        routes: What it answers beside.
    """
    routes = {**health.routes, **routes}
    return Reception(health.app, routes, [] if is_supervised() else doors_of(routes, ports))


def doors_of(routes: Routes, ports: Ports) -> list[Door]:
    """The doors for what is there of `routes`."""
    wanted = (
        ("WORKER_HEALTH_PORT", ports.health, (LIVE, READY)),
        ("WORKER_METRICS_PORT", ports.metrics, (METRICS,)),
    )
    doors: list[Door] = []
    for setting, port, paths in wanted:
        served = {path: routes[path] for path in paths if path in routes}
        if port is None or not served:
            continue
        if port and doors and doors[0].port == port:
            first = doors.pop()
            setting, served = f"{first.setting}={setting}", {**first.routes, **served}
        doors.append(Door(setting, port, served))
    return doors


Served = Sequence[tuple[socket.socket, Routes]]
"""Sockets that listen, and what is served on each."""


def open_all(app: str, routes: Routes, doors: Sequence[Door]) -> tuple[Served, Entry | None]:
    """Have all sockets; a process without one of its own in the roster says so, and works.

    Raises:
        SettingsError: A port cannot be listened on.
    """
    served: list[tuple[socket.socket, Routes]] = []
    try:
        for door in doors:
            served.append((door.open(), door.routes))  # noqa: PERF401 - those before are closed
    except SettingsError:
        for listener, _ in served:
            listener.close()
        raise
    try:
        listener, entry = roster.listen(app)
    except OSError as error:
        where = " or ".join(roster.FOLDERS)
        logger.warning(
            "`worker check` does not find this process: no socket in %s (%s)", where, error
        )
        return served, None
    return [*served, (listener, routes)], entry


@contextlib.asynccontextmanager
async def serving(served: Served) -> AsyncIterator[None]:
    """Serve, on the running event loop, while the block runs."""
    servers: list[HttpServer] = []
    try:
        for listener, routes in served:
            servers.append(HttpServer(routes))
            await servers[-1].serve(listener)
        yield
    finally:
        for server in servers:
            await server.close()


async def _serve(served: Served, closed: asyncio.Event) -> None:
    async with serving(served):
        await closed.wait()


def _turn(
    loop: asyncio.AbstractEventLoop, served: Served, entry: Entry | None, closed: asyncio.Event
) -> None:
    asyncio.set_event_loop(loop)
    forks.keep_from(loop, signals=False, listens=True)
    try:
        loop.run_until_complete(_serve(served, closed))
    finally:
        forks.release(loop)
        _leave(loop, served, entry)


def _leave(loop: asyncio.AbstractEventLoop, served: Served, entry: Entry | None) -> None:
    if entry is not None:
        entry.remove()
    for listener, _ in served:
        listener.close()
    loop.close()
