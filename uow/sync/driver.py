"""The driver of a client's own connections, psycopg 3 or else psycopg2, and how it opens them.

Both are libpq's. They read nothing while a connection stands idle, so whether the server has ended
it meanwhile is seen when it is taken from the pool.
"""

import importlib
import select
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from uow.db.connection import KEEP_ALIVE
from uow.db.statement import SILENT_SECONDS
from uow.errors import InvalidOptions
from uow.settings.parts import DatabaseSettings
from uow.urls.libpq import LibpqAddress

DRIVERS = ("psycopg", "psycopg2")
"""In the order in which they are taken."""

_ALIVE = {
    "keepalives_idle": KEEP_ALIVE["TCP_KEEPIDLE"],
    "keepalives_interval": KEEP_ALIVE["TCP_KEEPINTVL"],
    "keepalives_count": KEEP_ALIVE["TCP_KEEPCNT"],
    "tcp_user_timeout": KEEP_ALIVE["TCP_USER_TIMEOUT"],
    "connect_timeout": int(SILENT_SECONDS),
}

_OURS = (
    f"SELECT set_config('statement_timeout', '{SILENT_SECONDS:.0f}s', false), "
    "set_config('default_transaction_isolation', 'read committed', false) "
    "WHERE pg_backend_pid() = "
)
"""Nothing is set if the server is another one than said hello: that is a pooling proxy's, and its
next client would meet it."""


def installed_driver() -> str:
    """The driver that is there.

    Raises:
        ImportError: There is none; it says what to install.
    """
    reasons = []
    for name in DRIVERS:
        try:
            importlib.import_module(name)
        except ImportError as error:  # psycopg without libpq is one, too
            reasons.append(f"{name}: {str(error).splitlines()[0]}")
        else:
            return name
    raise ImportError(
        "uow.sync.TaskClient needs psycopg: pip install 'uow-worker[sync]' 'psycopg[binary]', or "
        f"pip install psycopg2-binary ({'; '.join(reasons)})"
    )


def make_engine(settings: DatabaseSettings) -> Engine:
    """An engine of a client's own. Nothing connects yet.

    Raises:
        SettingsError: The URL says what cannot be done.
        ImportError: There is no driver.
    """
    address = LibpqAddress.read(settings.url, installed_driver())
    engine = create_engine(
        address.url,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_use_lifo=True,
        hide_parameters=True,  # arguments belong to users, not to logs
        connect_args={**_ALIVE, **address.arguments},
    )
    event.listen(engine, "connect", _open)
    event.listen(engine, "checkout", _refuse_if_over)
    return engine


def refuse_other_engine(engine: object) -> None:
    """Raise if a client could not work on an engine of somebody's.

    Raises:
        InvalidOptions: It could not.
    """
    if not isinstance(engine, Engine) or engine.dialect.is_async:
        raise InvalidOptions(
            f"engine= is asyncio's or none ({type(engine).__name__}): give one of psycopg or "
            "psycopg2, or leave it out"
        )
    if engine.dialect.name != "postgresql":
        raise InvalidOptions(f"engine= leads to {engine.dialect.name}, and tasks are in Postgres")


def _open(connection: Any, _: object) -> None:
    """Set our limits on a connection that is the server's own; prepare nothing on another one."""
    connection.autocommit = True
    try:
        cursor = connection.cursor()
        cursor.execute(f"{_OURS}{connection.info.backend_pid}")
        if not cursor.fetchall() and hasattr(connection, "prepare_threshold"):  # psycopg 3
            connection.prepare_threshold = None
        cursor.close()
    finally:
        connection.autocommit = False


def _refuse_if_over(connection: Any, *_: object) -> None:
    """Let the pool replace a connection that has something to say: its end, most likely."""
    if connection.closed or _is_readable(connection.fileno()):
        raise DisconnectionError("the server has ended this connection")


def _is_readable(descriptor: int) -> bool:
    if not hasattr(select, "poll"):
        return bool(select.select([descriptor], [], [], 0)[0])
    looking = select.poll()  # `select` itself knows the first 1,024 descriptors alone
    looking.register(descriptor, select.POLLIN)
    return bool(looking.poll(0))
