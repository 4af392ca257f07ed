"""The app is made, and `worker api` serves it."""

import asyncio
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.integration.api.apps import api_of
from tests.integration.api.conftest import DEAD_REDIS
from tests.processes import environment_of
from uow import Settings
from uow.api.server import serve
from uow.errors import ClientClosed, SchemaError, ServerUnreachable, SettingsError
from uow.tasks.outlets import reader_of
from uow.tasks.registry import Registry


class TestComposition:
    async def test_nothing_connects_before_the_start(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        app = api_of(unconnected, registry)
        assert not hasattr(app.state, "db")

    async def test_without_a_database_url_there_is_no_app(self, registry: Registry) -> None:
        with pytest.raises(SettingsError, match="WORKER_DATABASE_URL is not set"):
            api_of(Settings(), registry)

    async def test_a_missing_task_module_is_named(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        with pytest.raises(SettingsError, match="cannot import not_there"):
            api_of(unconnected.model_copy(update={"task_modules": ("not_there",)}), registry)

    async def test_the_client_is_closed_with_the_app(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        app = api_of(unconnected, registry)
        async with app.router.lifespan_context(app):
            assert app.state.client.db is app.state.db
            engine = app.state.db.engine.sync_engine
            assert reader_of(engine) is app.state.client
        with pytest.raises(ClientClosed):
            reader_of(engine)


class TestServe:
    """`worker api`."""

    @pytest.mark.parametrize(
        ("host", "update", "error", "says"),
        [
            ("0.0.0.0", {}, SettingsError, "set WORKER_API_TOKENS"),
            ("::", {}, SettingsError, "set WORKER_API_TOKENS"),
            ("", {}, SettingsError, "set WORKER_API_TOKENS"),
            ("::1", {"task_modules": ("not_there",)}, SettingsError, "cannot import not_there"),
            ("::1", {}, ServerUnreachable, "Postgres at 127.0.0.1:1/none did not answer"),
        ],
    )
    async def test_it_refuses_to_start(
        self,
        unconnected: Settings,
        registry: Registry,
        host: str,
        update: dict[str, Any],
        error: type[Exception],
        says: str,
    ) -> None:
        changed = unconnected.model_copy(update={"connect_timeout": 0.1, **update})
        with pytest.raises(error) as refusal:
            await asyncio.to_thread(serve, changed, host, 8000, registry=registry)
        assert says in str(refusal.value)
        assert "hunter2" not in str(refusal.value)

    async def test_it_refuses_to_start_without_tables_or_redis(
        self, settings: Settings, registry: Registry
    ) -> None:
        elsewhere = settings.model_copy(update={"database_schema": "elsewhere"})
        with pytest.raises(SchemaError, match="worker migrate"):
            await asyncio.to_thread(serve, elsewhere, "localhost", 8000, registry=registry)
        away = settings.model_copy(update={"redis_url": DEAD_REDIS, "connect_timeout": 0.1})
        with pytest.raises(ServerUnreachable, match=r"Redis at 127\.0\.0\.1:1 did not answer"):
            await asyncio.to_thread(serve, away, "localhost", 8000, registry=registry)

    async def test_it_refuses_a_busy_port_and_one_that_is_none(
        self, settings: Settings, registry: Registry
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            with pytest.raises(SettingsError, match=f"port {port}: Address already in use"):
                await asyncio.to_thread(serve, settings, "127.0.0.1", port, registry=registry)
        with pytest.raises(SettingsError, match="port 99999"):
            await asyncio.to_thread(serve, settings, "127.0.0.1", 99999, registry=registry)

    @asynccontextmanager
    async def process(
        self, settings: Settings, host: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uow", "api", "--host", host, "--port", "0",
            env=environment_of(settings), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def test_as_a_process(self, settings: Settings) -> None:
        """Without tokens it exits with 1; with one it serves until it is told to stop."""
        with_token = settings.model_copy(
            update={"api_tokens": (SecretStr("alpha-token-of-the-api"),)}
        )
        async with (
            self.process(settings, "0.0.0.0") as refused,
            self.process(with_token, "0.0.0.0") as serving,
        ):
            _, message = await asyncio.wait_for(refused.communicate(), 30)
            assert refused.returncode == 1
            assert b"WORKER_API_TOKENS" in message
            assert b"Traceback" not in message
            log = await self.talk_to(serving)
        assert b'"POST /tasks HTTP/1.1" 202' in log
        assert b"Traceback" not in log
        assert serving.returncode in (0, -signal.SIGTERM)

    async def talk_to(self, process: asyncio.subprocess.Process) -> bytes:
        """Use it and stop it; returns its log."""
        assert process.stderr is not None
        log = await asyncio.wait_for(process.stderr.readuntil(b"Application startup"), 30)
        port = re.search(rb"listening on http://0\.0\.0\.0:(\d+)", log)
        assert port is not None, log
        url = f"http://127.0.0.1:{int(port[1])}"
        async with httpx.AsyncClient(
            base_url=url, headers={"authorization": "Bearer alpha-token-of-the-api"}
        ) as http:
            assert (await http.get("/health/ready")).status_code == 200
            body = {"name": "users.send_welcome", "args": {"user_id": 1}}
            assert (await http.post("/tasks", json=body)).status_code == 202
        process.send_signal(signal.SIGTERM)
        _, rest = await asyncio.wait_for(process.communicate(), 30)
        return log + rest
