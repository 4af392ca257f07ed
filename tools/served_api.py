"""`worker api` within a tool, for the tools beside it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from uow import Registry, Settings
from uow.api.app import create_app
from uow.app import AppParts


class Server(uvicorn.Server):
    """Leaves signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are the command's."""
        yield


@asynccontextmanager
async def serving(settings: Settings, registry: Registry) -> AsyncIterator[str]:
    """The API on a free port of this machine."""
    app = create_app(settings, registry, AppParts())
    server = Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        running = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
