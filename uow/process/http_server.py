"""A small HTTP server for probes and scrapers: GET and HEAD, one request per connection.

It reads a head of 8 KiB at most, within some seconds, from so many at once; a body is not read.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

logger = logging.getLogger(__name__)

HEAD_BYTES = 8192
"""A request line with its headers may be so long."""

REQUEST_SECONDS = 5.0
"""For a request to come, and for its answer to be taken."""

AT_ONCE = 32
"""Connections; one more is closed at once."""

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is asked for.

    Attributes:
        path: Without the query.
        query: What comes after the question mark.
        headers: Names in small letters; the last one of a name.
    """

    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to it.

    Attributes:
        status: HTTP's.
        headers: Beside those that every answer has.
    """

    status: int
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] | None = None


Route = Callable[[HttpRequest], Awaitable[Answer]]
"""Answers the requests of one path."""


def line(status: int, text: str) -> Answer:
    """An answer of one line."""
    return Answer(status, f"{text}\n".encode())


def open_port(port: int) -> socket.socket:
    """A socket that listens on `port` of every address of this host; 0 takes a free one.

    Raises:
        OSError: The port is taken, or not for us.
    """
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=AT_ONCE
            )
        except OSError:  # the kernel may know IPv6 without having an address of it
            pass
    return socket.create_server(("", port), backlog=AT_ONCE)


class HttpServer:
    """Serves `routes` on the running event loop, on one socket after another.

    Args:
        routes: By path. What one raises is answered with 500, and logged.
    """

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Serve what comes to `listener`, TCP or unix; it is closed with the server."""
        start = (
            asyncio.start_unix_server if listener.family == socket.AF_UNIX else asyncio.start_server
        )
        self._servers.append(await start(self._accept, sock=listener, limit=HEAD_BYTES))

    async def close(self) -> None:
        """Take no more requests, and end those that are open."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        for task in [*self._open]:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio has made one
        try:
            if len(self._open) < AT_ONCE:
                self._open.add(task)
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._talk(reader, writer)
        except (TimeoutError, OSError, asyncio.CancelledError):
            pass  # they have lost their interest, or we ours
        finally:
            self._open.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            method, answer = "GET", _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except asyncio.IncompleteReadError:
            return
        else:
            method, answer = await self._answer(head)
        writer.write(_written(answer, with_body=method != "HEAD"))
        await writer.drain()

    async def _answer(self, head: bytes) -> tuple[str, Answer]:
        request_line, *lines = head.decode("latin-1").split("\r\n")
        match request_line.split(" "):
            case ["GET" | "HEAD" as method, target, "HTTP/1.0" | "HTTP/1.1"]:
                path, _, query = target.partition("?")
                route = self._routes.get(path)
                if route is None:
                    return method, _refusal(HTTPStatus.NOT_FOUND)
                return method, await _routed(route, HttpRequest(path, query, _headers(lines)))
            case [_, _, "HTTP/1.0" | "HTTP/1.1"]:
                return "GET", _refusal(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        return "GET", _refusal(HTTPStatus.BAD_REQUEST)


async def _routed(route: Route, request: HttpRequest) -> Answer:
    try:
        return await route(request)
    except Exception:
        logger.exception("no answer to %s", request.path)
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (one.partition(":") for one in lines if one)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _refusal(status: HTTPStatus, **headers: str) -> Answer:
    return Answer(status, f"{status.phrase}\n".encode(), headers=headers)


def _written(answer: Answer, *, with_body: bool) -> bytes:
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **(answer.headers or {}),
    }
    phrase = HTTPStatus(answer.status).phrase
    lines = [f"HTTP/1.1 {int(answer.status)} {phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + (answer.body if with_body else b"")
