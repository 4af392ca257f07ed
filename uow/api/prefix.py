"""A path in front of all of ours, under which a proxy serves the API."""

from starlette.types import ASGIApp, Receive, Scope, Send


class ServedUnder:
    """Makes the prefix part of every path, as ASGI has it, whether or not the proxy takes it off.

    Args:
        app: What is served under it.
        root_path: The prefix, as ``/worker``.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] in ("http", "websocket"):
            path: str = scope["path"]
            is_under = f"{path}/".startswith(f"{self._root_path}/")
            whole = path if is_under else self._root_path + path
            scope = {**scope, "root_path": self._root_path, "path": whole}
        await self.app(scope, receive, send)
