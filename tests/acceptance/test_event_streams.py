"""Streams of events and the end of the process that serves them."""

import asyncio
import signal
import socket
import sys
import time

import httpx
import pytest

from tests.processes import environment_of, run_logged
from uow import Settings

SERVERS = {
    "worker api": ["-m", "uow", "api", "--port", "{port}"],
    "uvicorn": ["-m", "uvicorn", "--factory", "uow.api.app:create_app", "--port", "{port}"],
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("server", SERVERS)
async def test_a_signal_to_stop_ends_them_so_that_the_server_stops(
    settings: Settings, server: str, number: signal.Signals
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *(word.format(port=port) for word in SERVERS[server])]
    environment = environment_of(settings, WORKER_SHUTDOWN_GRACE="25")
    serving = run_logged(command, environment)
    try:
        await asyncio.to_thread(serving.wait_for_log, "startup complete")
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
            http.stream("GET", "/api/events") as response,
        ):
            lines = response.aiter_lines()
            while not (await anext(lines)).startswith("data: "):
                pass
            began = time.monotonic()
            serving.process.send_signal(number)
            async for _ in lines:
                pass
        await asyncio.to_thread(serving.wait, 20)
        assert time.monotonic() - began < 15
        assert "Traceback" not in serving.log
    finally:
        serving.kill9()
