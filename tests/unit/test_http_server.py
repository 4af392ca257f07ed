"""The small HTTP server takes short GETs in time, and nothing else."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from uow.process import http_server
from uow.process.http_server import Answer, HttpRequest, HttpServer, line, open_port


async def tell(request: HttpRequest) -> Answer:
    return line(200, f"{request.path} {request.query} {request.headers.get('accept')}")


async def refuse(request: HttpRequest) -> Answer:
    return line(503, "Postgres is away")


async def fail(request: HttpRequest) -> Answer:
    raise ZeroDivisionError


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = HttpServer({"/tell": tell, "/refuse": refuse, "/fail": fail})
    listener = open_port(0)
    await server.serve(listener)
    yield listener.getsockname()[1]
    await server.close()


async def said(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def test_a_get_is_answered_with_what_the_route_says(port: int) -> None:
    answer = await said(port, b"GET /tell?a=b HTTP/1.1\r\nHost: x\r\nACCEPT: text/*\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == b"/tell a=b text/*\n"


async def test_a_head_has_no_body(port: int) -> None:
    answer = await said(port, b"HEAD /refuse HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 17" in answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /other HTTP/1.1", b"404"),
        (b"POST /tell HTTP/1.1", b"405"),
        (b"GET /tell HTTP/2", b"400"),
        (b"GET  /tell HTTP/1.1", b"400"),
        (b"GET /tell", b"400"),
        (b"\xff\x00 \xfe", b"400"),
        (b"", b"400"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1", b"431"),
    ],
)
async def test_what_is_not_served_is_refused(port: int, request_line: bytes, status: bytes) -> None:
    answer = await said(port, request_line + b"\r\n\r\n")
    assert answer.split(b" ")[1] == status


async def test_a_route_that_fails_is_a_500_without_its_reason(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    answer = await said(port, b"GET /fail HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"Zero" not in answer
    assert "no answer to /fail" in caplog.text


async def test_who_sends_no_request_is_not_waited_for(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.1)
    assert await said(port, b"GET /tell HTTP/1.1\r\n") == b""


async def test_so_many_connections_and_no_more(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "AT_ONCE", 2)
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 60)
    open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for _, writer in open_ones:
        writer.write(b"GET /tell")
        await writer.drain()
    assert await said(port, b"") == b""
    for _, writer in open_ones:
        writer.close()


async def test_a_close_ends_what_is_open(tmp_path: Path) -> None:
    server = HttpServer({"/tell": tell})
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    await server.serve(listener)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
    writer.write(b"GET /tell HTTP/1.1\r\n")
    await writer.drain()
    await asyncio.sleep(0.01)
    await server.close()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


def test_a_port_that_is_taken_is_refused() -> None:
    with open_port(0) as taken, pytest.raises(OSError, match="in use"):
        open_port(taken.getsockname()[1])
