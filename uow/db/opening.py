"""How the connections of a `Database` are opened: where they lead, what is said at their start, and
whether the way there is the one that the settings speak of.

Through a proxy that pools transactions a prepared statement of one connection may be executed on
another's: rows of one table end in another one's, and nobody says so. So the first connection is
asked whether there is a proxy, and one that the settings do not name is refused.
"""

import re
from collections.abc import Mapping
from typing import Any

import asyncpg
from asyncpg.exceptions import ClientConfigurationError
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.util import await_only

from uow import exhaustion
from uow.db.connection import BEGUN, Connection
from uow.db.failures import refuse_full_proxy, sqlstate
from uow.errors import ServerUnreachable, SettingsError, WorkerError
from uow.settings.parts import Pooler
from uow.urls.engine import Address
from uow.urls.postgres import EXAMPLE

CHECK_SECONDS = 2
"""How often Postgres looks, during a long statement of an attempt, whether its process is there."""

NAME_LENGTH = 63
"""Bytes of an `application_name`."""

MARK_LENGTH = 44
"""Characters of a process's name in it; the end is what no other process has."""

_CHECK = {"client_connection_check_interval": str(CHECK_SECONDS * 1000)}
"""Said once per connection; behind a proxy, which refuses it then, in each BEGIN."""

_PROTOCOL_VIOLATION = "08P01"

_IDLE = "idle_in_transaction_session_timeout"


def mark_of(process: str) -> str:
    """What the names of a worker process's sessions end with in `pg_stat_activity`."""
    return "uow " + re.sub(r"[^\w.:-]", "-", process, flags=re.ASCII)[-MARK_LENGTH:]


class Opening:
    """Opens the connections of one `Database`.

    Args:
        address: Where they lead.
        given: The user's `connect_args`.
        pooler: What kind of pooling proxy there is; None: none.
        process: The worker process whose sessions these are; None: it is no worker.
        fence_seconds: After so long Postgres ends a transaction that stands idle; None: as it says.
    """

    def __init__(
        self,
        address: Address,
        given: Mapping[str, Any],
        *,
        pooler: Pooler | None,
        process: str | None,
        fence_seconds: float | None,
    ) -> None:
        self._pooler = pooler
        self._process = process
        said = {**address.server_settings, **given.get("server_settings", {})}
        self._name = _session_name(said.get("application_name", ""), process)
        self._said_at_start: float | None = None
        if pooler is None and fence_seconds is not None:
            if _IDLE not in said:
                self._said_at_start = fence_seconds
            said = {**_fence(fence_seconds), **said}
        if process is not None and pooler != "transaction":
            said["application_name"] = self._name
        self.arguments: dict[str, Any] = {
            **address.arguments,
            **(_for_pooler() if pooler == "transaction" else {}),
            **given,
            "server_settings": said,
            "connection_class": Connection,
        }
        self._looked = self._checks = False
        self._fences: dict[float, str] = {}

    def connect(
        self, dialect: Dialect, _: object, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> DBAPIConnection:
        """Connect, telling a server that is away apart from the OSErrors of user code.

        Raises:
            ServerUnreachable: It is away, or a pooling proxy before it has none for us.
            SettingsError: The settings do not fit what is there.
        """
        if self._checks and self._pooler is None:
            options = {**options, "server_settings": {**options["server_settings"], **_CHECK}}
        try:
            connection = dialect.connect(*arguments, **options)
        except Exception as error:
            if (said := self._explained(error)) is not None:
                raise said from error
            refuse_full_proxy(error)
            raise
        driver = dialect.get_driver_connection(connection)
        driver.has_session = self._pooler != "transaction"
        if not self._looked:
            await_only(self._look(driver))
        return connection

    def _explained(self, error: Exception) -> WorkerError | None:
        """What has kept a connection from being made, for a person; None: `error` says it."""
        if fault := _fault_in_settings(error):
            return SettingsError(fault)
        if isinstance(error, OSError):
            why = exhaustion.here.explains(error) or f"Postgres cannot be reached ({error})"
            return ServerUnreachable(why)
        if sqlstate(error) == _PROTOCOL_VIOLATION and "startup parameter" in str(error):
            return self._refused(error)
        return None

    def fence(self, seconds: float) -> str:
        """What an attempt's BEGIN says, so that nothing it has left behind holds a lock for long.

        Postgres ends its transaction when that has stood idle for `seconds`, and a statement of it
        soon after its process is gone; and its session can be told from others'.
        """
        if seconds not in self._fences:  # as many as there are timeouts of task functions
            self._fences[seconds] = self._fence_of(seconds)
        return self._fences[seconds]

    def _fence_of(self, seconds: float) -> str:
        said: list[str] = []
        if seconds != self._said_at_start:
            said.append(f"{_IDLE} = {int(seconds * 1000)}")
        if self._checks and self._pooler is not None:
            said += [f"{name} = {value}" for name, value in _CHECK.items()]
        if self._process is not None and self._pooler == "transaction":
            # For each connection it would cost the proxy a round trip at each change of hands.
            said.append(f"application_name = '{self._name}'")
        return BEGUN + "".join(f"SET LOCAL {one};" for one in said)

    async def _look(self, driver: Any) -> None:
        """See what is at the other end of the first connection, and refuse what would do harm.

        By simple messages, each of which any proxy passes on as a whole.
        """
        try:
            if self._pooler is None:
                await _refuse_proxy(driver)
            self._checks = self._process is not None and await self._may_check_client(driver)
        except BaseException:
            driver.terminate()
            raise
        self._looked = True

    async def _may_check_client(self, driver: Any) -> bool:
        """Whether the server can look if its client is there, and nobody has told it when.

        Without a proxy it does from now on. Optional: a server may be older, or on a system that
        cannot tell.
        """
        ((name, value),) = _CHECK.items()
        local = str(self._pooler is not None).lower()
        try:
            said: str = await driver.execute(
                f"SELECT set_config('{name}', '{value}', {local}) "
                f"WHERE current_setting('{name}', true) = '0'"
            )
        except asyncpg.PostgresError:
            return False
        if self._pooler is None and said == "SELECT 1":
            driver.keep(f"SET {name} = {value};")  # the others say it when they start
        return said == "SELECT 1"

    def _refused(self, error: Exception) -> SettingsError:
        said = f"the database URL leads to a pooling proxy that refuses us ({error})"
        if self._pooler is None:
            return SettingsError(f"{said}. {_SAY_SO}")
        return SettingsError(
            f"{said}: take that parameter out of the URL or the `connect_args`, or let the proxy "
            "ignore it"
        )


_SAY_SO = (
    "Say of which kind it is, or statements of one connection may be executed on another's: "
    "WORKER_DATABASE_POOLER=transaction for one that pools transactions (PgBouncer's "
    "pool_mode=transaction; in code: pooler=True), WORKER_DATABASE_POOLER=session for one that "
    'keeps a connection of the server for each of ours (pooler="session")'
)


async def _refuse_proxy(driver: Any) -> None:
    """Raise if it is not the server itself that has answered: a proxy says a number of its own."""
    pid = driver.get_server_pid()
    if await driver.execute(f"SELECT WHERE pg_backend_pid() = {pid}") != "SELECT 1":
        raise SettingsError(f"the database URL leads to a pooling proxy. {_SAY_SO}")


def _fault_in_settings(error: Exception) -> str | None:
    """What the driver has to say of what it was given; None: that is not why."""
    for each in (error, error.__cause__):  # from SQLAlchemy 2.1 on the driver's is the cause
        if "getpwuid" in str(each):
            return (
                "the database URL names no user, and the system has no name for the one that this "
                f"process runs as: write {EXAMPLE}"
            )
        if isinstance(each, TypeError):
            return f"the database URL or `connect_args` has what asyncpg does not know: {each}"
        if isinstance(each, ClientConfigurationError):
            said = str(each).partition("\n")[0]
            known = "; sslrootcert=system takes the system's" if "root certificate" in said else ""
            return f"the database URL does not fit: {said}{known}"
    return None


def _session_name(users: str, process: str | None) -> str:
    if process is None:
        return users
    mark = mark_of(process)
    plain = re.sub(r"[^\w .:/@-]", "-", users, flags=re.ASCII)
    return f"{plain[: NAME_LENGTH - len(mark) - 1]} {mark}".strip()


def _fence(seconds: float) -> dict[str, str]:
    return {
        _IDLE: f"{int(seconds * 1000)}ms",
        # A worker that cannot be reached any more is found out by the server itself.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }


def _for_pooler() -> dict[str, Any]:
    # An unnamed statement lives until the next one is parsed, which within one transaction, and
    # so on one server connection, is never before it was executed.
    return {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    }
