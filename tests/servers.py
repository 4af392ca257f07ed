"""A real web server around a test's app."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from starlette.types import ASGIApp


class Server(uvicorn.Server):
    """Ends when it is told to, and then at once: uvicorn looks and pauses ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told_to_stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they belong to pytest

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for request in self.server_state.tasks:
            request.cancel()  # the clients are gone
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        for connection in [*self.server_state.connections]:
            connection.transport.close()
        await self.lifespan.shutdown()


@asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app` under uvicorn, on this port, or a free one; as `worker api` serves it."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        server = Server(uvicorn.Config(app, log_config=None, ws="none", proxy_headers=False))
        running = asyncio.create_task(server.serve([listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            # Without the certificates of the world, which each client would read: here is no TLS.
            async with httpx.AsyncClient(base_url=url, timeout=10, verify=False) as client:
                yield client
        finally:
            server.told_to_stop.set()
            await running
