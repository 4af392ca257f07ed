"""The pages of what the demo has left behind."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from uow.api.app import create_app
from worker.demo.house import House
from worker.main import app

GRACE_SECONDS = 1


class _Server(uvicorn.Server):
    """Leaves signals to the demo, which ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def open_pages(house: House) -> AsyncIterator[str]:
    """Serve the API on a free loopback port, where nobody of this machine has to log in.

    Yields:
        The address of the pages.
    """
    config = uvicorn.Config(
        create_app(house.settings, application=app), log_config=None, access_log=False,
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip
    server = _Server(config)
    # With the protocol named, asyncio sends small packets at once.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/ui/"
        finally:
            server.should_exit = True
            await serving
