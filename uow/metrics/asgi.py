"""`uow.metrics_app`: the metrics of this process, for whoever has a server of their own."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uow.metrics.metrics import of_this_process
from uow.process.exposition import content_type, is_openmetrics_wanted

Message = MutableMapping[str, Any]

AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


def metrics_app() -> AsgiApp:
    """An ASGI app that answers every path with the metrics of this process's workers.

    For a worker inside your own process (`uow.running`), under a server that is there anyway:
    ``app.mount("/metrics", uow.metrics_app())``. To be called before the worker starts: it counts
    from then on. Whoever reaches it may read the names of your tasks and queues.

    Raises:
        ImportError: prometheus-client is not installed.
        WorkerError: A worker runs already in this process, and nothing was counted.
    """
    from uow.metrics.families import text_of

    metrics = of_this_process()

    async def app(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"uow.metrics_app() answers HTTP, and no {scope['type']}")
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(
                send, 405, b"Method Not Allowed\n", "text/plain", (b"allow", b"GET, HEAD")
            )
            return
        openmetrics = is_openmetrics_wanted(
            _accepted(scope), scope["query_string"].decode("latin-1")
        )
        text = text_of(metrics, openmetrics=openmetrics)
        body = b"" if scope["method"] == "HEAD" else text
        await _answer(send, 200, body, content_type(openmetrics=openmetrics))

    return app


def _accepted(scope: Message) -> str:
    values = [value for name, value in scope["headers"] if name == b"accept"]
    return b",".join(values).decode("latin-1")


async def _answer(
    send: Callable[[Message], Awaitable[None]],
    status: int,
    body: bytes,
    kind: str,
    *headers: tuple[bytes, bytes],
) -> None:
    all_headers = [(b"content-type", kind.encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})
