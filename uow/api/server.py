"""``worker api``: the app under uvicorn."""

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Callable

import uvicorn

from uow.api.app import create_app
from uow.api.security import is_loopback
from uow.app import AppParts
from uow.errors import SettingsError
from uow.services.readiness import wait_for_servers
from uow.settings.environment import Settings
from uow.tasks.registry import Registry, default_registry
from uow.telemetry import logs

logger = logging.getLogger(__name__)


def _say_nothing() -> None: ...


def serve(
    settings: Settings,
    host: str,
    port: int,
    registry: Registry = default_registry,
    application: AppParts | None = None,
    announce: Callable[[], None] = _say_nothing,
) -> None:
    """Serve the API until told to stop.

    Args:
        settings: The process's.
        host: Address to listen on; without tokens a loopback one.
        port: Port to listen on; 0 takes a free one and logs it.
        registry: The task functions that it enqueues.
        application: What else it serves; None: nothing.
        announce: Called when the servers answer: a start that fails is told in one line.

    Raises:
        SettingsError: A setting does not fit, or the address cannot be listened on.
        ServerUnreachable: Postgres or Redis did not answer in time.
        SchemaError: The migrations have not been run.
    """
    _refuse_strangers_without_tokens(settings, host)
    app = create_app(settings, registry, application)
    logs.configure(settings.log_level, settings.log_format, (*logs.LOGGERS, "uvicorn"))
    asyncio.run(wait_for_servers(settings))
    announce()
    config = uvicorn.Config(
        app,
        log_config=None,  # it is written as ours is
        log_level=settings.log_level.lower(),
        access_log=settings.log_level in ("DEBUG", "INFO"),
        server_header=False,
        proxy_headers=False,  # uvicorn believes all of this machine: see `uow.api.addresses`
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace),
    )
    with _listen(host, port) as listener, contextlib.suppress(KeyboardInterrupt):
        logger.info("listening on http://%s:%d", *listener.getsockname()[:2])
        uvicorn.Server(config).run([listener])


def _refuse_strangers_without_tokens(settings: Settings, host: str) -> None:
    if not settings.needs_token and not is_loopback(host):
        raise SettingsError(
            f"without tokens the API listens on loopback only, and {host!r} is not that: set "
            "WORKER_API_TOKENS or WORKER_API_TOKENS_FILE, or leave --host at 127.0.0.1"
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends small packets at once only where it is: without,
    # an answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:  # the latter for a port that no port can be
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"cannot listen on {host} port {port}: {reason}; choose with --host and --port"
        ) from None
    return listener
