"""Whatever is sent, the answer is a problem and not an accident."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from tests.integration.api.apps import api_of
from tests.integration.api.conftest import JSON, MAX_PAYLOAD, assert_problem, assert_refused
from uow import Settings
from uow.api.limits import ENVELOPE_BYTES
from uow.tasks.registry import Registry

BAD_TASKS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"%s",
    b"NaN",
    b"{}}",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"{'name': 1}",
    b'{"name": {"$ne": 1}}',
    b'{"name": "echo", "name": 7}',
    b'{"name": "\x00"}',
    b'{"name": "\\u0000"}',
    b'{"name": "\\ud800"}',
    b'{"name": "%s"}',
    b'{"name": "echo", "\\ud800": 1}',
    b'{"name": "echo", "args": {"\\ud800": 1}}',
    b'{"name": "echo", "args": {"\\u0000": 1}}',
    b'{"name": "echo", "args": {"x": "\\udfff"}}',
    b'{"name": "echo", "args": {"x": "\\u0000"}}',
    b'{"name": "echo", "args": {"x": "\xed\xa0\x80"}}',
    b'{"name": "echo", "args": {"x": NaN}}',
    b'{"name": "echo", "args": {"x": -Infinity}}',
    b'{"name": "echo", "args": {"x": 1e999}}',
    b'{"name": "echo", "args": {"x": %s%s}}',
    b'{"name": "echo", "args": {"x": 1%s',
    b'{"name": "math.add", "args": {"a": 1e3000}}',
    b'{"name": "math.add", "args": {"a": {"a": {}}}}',
    b'{"name": "math.fail", "user_id": %s}',
    b'{"name": "math.fail", "user_id": "\\ud800"}',
    b'{"name": "math.fail", "user_id": {}}',
    b'{"name": "math.fail", "priority": %s}',
    b'{"name": "math.fail", "delay": %s}',
    b'{"name": "math.fail", "delay": 1e999}',
    b'{"name": "math.fail", "delay": NaN}',
    b'{"name": "math.fail", "run_at": %s}',
    b'{"name": "math.fail", "run_at": "-infinity"}',
    b'{"name": "math.fail", "run_at": "0001-01-01T00:00:00+14:00"}',
    b'{"name": "math.fail", "run_at": "9999-12-31T23:59:59-14:00"}',
    b'{"name": "math.fail", "unique_key": "\\ud800"}',
    b'{"name": "math.fail", "unique_key": "\\u0000"}',
    b'{"name": "math.fail", "unique_key": "%s"}',
    *(
        b'{"name": "echo", "args": {"x": ' + b"[" * depth + b"]" * depth + b"}}"
        for depth in (201, 254, 255, 900, 2000)
    ),
    b'{"name": "echo", "args": ' + b'{"x":' * 300 + b"1" + b"}" * 300 + b"}",
    b"[" * 30_000,
]


class TestBadRequests:
    @pytest.fixture
    def app(self, unconnected: Settings, registry: Registry) -> FastAPI:
        return api_of(unconnected, registry)

    async def test_no_body_is_a_server_error(self, api: httpx.AsyncClient) -> None:
        await assert_refused(api, "/tasks", BAD_TASKS)

    async def test_only_json_is_read_as_json(self, api: httpx.AsyncClient) -> None:
        """So a page from elsewhere cannot send it without a preflight, which is refused."""
        body = b'{"name": "math.fail"}'
        for content_type in (b"text/plain", b"multipart/form-data", b"\xff", b";;=", b"x/y/z"):
            headers = {b"content-type": content_type}
            response = await api.post("/tasks", content=body, headers=headers)
            assert_problem(response, 422)
        assert_problem(await api.post("/tasks", content=body), 422)
        assert_problem(await api.options("/tasks"), 405)

    async def test_what_is_wrong_first_is_said_and_how_many_more(
        self, api: httpx.AsyncClient
    ) -> None:
        for body, said in (
            ({"name": "echo", "delay": "x", "queue": 1}, "delay: "),
            ({}, "name: Field required"),
            (["echo"], "the body is to be an object, sent with Content-Type: application/json"),
        ):
            told = (await api.post("/tasks", json=body)).json()
            assert told["detail"].startswith(said), told
        unsaid = (await api.post("/tasks", content=b'{"name": "echo"}')).json()
        assert "Content-Type: application/json" in unsaid["detail"]

    async def test_paths_and_methods_that_are_not_there_are_problems(
        self, api: httpx.AsyncClient
    ) -> None:
        for path in ("/", "/%00", "/%ff", "/" + "a" * 9999, "/tasks/x/y", "/health"):
            assert_problem(await api.get(path), 404)
        response = await api.get("/tasks")
        assert_problem(response, 405)
        assert response.headers["allow"]

    async def test_every_answer_has_the_security_headers(
        self, api: httpx.AsyncClient, app: FastAPI
    ) -> None:
        @app.get("/bug")
        async def bug() -> None:
            raise ZeroDivisionError

        answers = [
            await api.get(path, headers={"host": host})
            for host in ("localhost", "evil.example")
            for path in ("/health/live", "/openapi.json", "/users/1", "/users/x", "/bug", "/docs")
        ]
        assert {r.status_code for r in answers} == {200, 403, 422, 500, 503}
        assert {r.headers["x-content-type-options"] for r in answers} == {"nosniff"}
        assert {r.headers["cache-control"] for r in answers} == {"no-store"}

    async def test_an_unexpected_error_is_logged_and_not_told(
        self, api: httpx.AsyncClient, app: FastAPI, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.get("/bug")
        async def bug() -> None:
            raise RuntimeError("the password is hunter2")

        assert_problem(await api.get("/bug"), 500)
        (record,) = (r for r in caplog.records if r.name == "uow.api.problems")
        assert "GET '/bug' answered with 500: RuntimeError" in record.message
        assert record.exc_info is not None


class TestBodyLimit:
    """Against the bytes on the wire: what is refused is not waited for."""

    HEAD = "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    async def send(self, api: httpx.AsyncClient, *parts: bytes) -> bytes:
        """Send `parts` and then nothing more; returns the status line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
        async with asyncio.timeout(10):
            try:
                writer.writelines(parts)
                await writer.drain()
                return await reader.readline()
            finally:
                writer.close()
                await writer.wait_closed()

    async def test_a_body_that_says_it_is_too_large_is_refused_at_once(
        self, refusing: httpx.AsyncClient
    ) -> None:
        limit = MAX_PAYLOAD + ENVELOPE_BYTES
        head = f"{self.HEAD}Content-Length: {limit + 1}\r\n\r\n".encode()
        assert b" 413 " in await self.send(refusing, head)

    async def test_a_body_that_turns_out_too_large_is_not_read_on(
        self, refusing: httpx.AsyncClient
    ) -> None:
        limit = MAX_PAYLOAD + ENVELOPE_BYTES
        head = f"{self.HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
        chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
        assert b" 413 " in await self.send(refusing, head, chunk * (limit // 0x1000 + 1))

    async def test_both_are_problems(self, refusing: httpx.AsyncClient) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(MAX_PAYLOAD + ENVELOPE_BYTES + 1024, 0, -1024):
                yield b" " * 1024

        for content in (b" " * (MAX_PAYLOAD + ENVELOPE_BYTES + 1), chunks()):
            response = await refusing.post("/tasks", content=content, headers=JSON)
            found = assert_problem(response, 413)
            assert "69,632 bytes" in found["detail"]

    async def test_white_space_up_to_the_limit_is_no_fault(
        self, refusing: httpx.AsyncClient
    ) -> None:
        body = b'{"name": "math.fail"}'.ljust(MAX_PAYLOAD + ENVELOPE_BYTES)
        # It comes as far as Postgres.
        assert_problem(await refusing.post("/tasks", content=body, headers=JSON), 503)
