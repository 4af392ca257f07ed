"""The driver's connection, which can commit together with one last statement: in one round trip.

SQLAlchemy, and asyncpg's own transaction below it, say ``COMMIT`` as ever; here it becomes
``EXECUTE …; COMMIT``, which Postgres takes as one message and of which it does all or nothing. Such
a message has no parameters; values are written into it, as digits alone.
"""

import os
import re
import socket
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

GUARD_FAILED = "22012"
"""The SQLSTATE of a commit whose last statement has changed no row: division by zero. A deferred
trigger of the user's may have it, too: the row tells."""


KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds, and how often: a server behind a network that drops everything is found out by the
kernel, whoever waits for it. (One that is stopped is not: our own statements have limits.)"""


class Connection(asyncpg.Connection):  # type: ignore[misc] # it has no types
    """A connection of our pool."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        _keep_alive(args[1])
        self._last_words = ""
        self._names: dict[str, str] = {}
        self._names_given = 0

    def commit_only_after(
        self, statement: str, values: Sequence[object], *, prepare: bool = True
    ) -> None:
        """Let the next COMMIT come after `statement`, and only if that returns a row.

        If it does not, the commit raises `GUARD_FAILED`. After that and any other error the
        transaction has been rolled back.

        Args:
            statement: With ``$1``, ``$2``, … for the `values`.
            prepare: Plan it once. Not behind a pooling proxy, where the next message may go to
                another connection of the server.
        """
        guarded = f"WITH last AS ({statement}) SELECT 1 / count(*) FROM last"  # noqa: S608 - ours
        written = [_written(value) for value in values]
        if prepare:
            types = ", ".join(type_ for type_, _ in written)
            prepared, name = self._named(guarded, types)
            literals = ", ".join(literal for _, literal in written)
            self._last_words = f"{prepared} EXECUTE {name} ({literals});"
        else:
            casts = [f"CAST({literal} AS {type_})" for type_, literal in written]
            self._last_words = re.sub(r"\$(\d+)", lambda n: casts[int(n[1]) - 1], guarded) + ";"

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """As asyncpg's."""
        last_words, self._last_words = self._last_words, ""
        if not last_words:
            return str(await super().execute(query, *args, timeout=timeout))
        if query.rstrip(";").upper() != "COMMIT":  # never a COMMIT without them
            raise asyncpg.InterfaceError(f"a COMMIT was expected, not {query!r}")
        try:
            return str(await super().execute(last_words + query, timeout=timeout))
        except asyncpg.PostgresError:
            self._names.clear()  # nobody knows how far it came
            if not self.is_closed() and self.is_in_transaction():
                await super().execute("ROLLBACK;")
            raise

    def _named(self, statement: str, types: str) -> tuple[str, str]:
        """What must be said before `statement` can be executed by a name, and the name."""
        if statement in self._names:
            return "", self._names[statement]
        self._names_given += 1
        name = self._names[statement] = f"worker_{self._names_given}"
        return f"PREPARE {name} ({types}) AS {statement};", name


def _keep_alive(transport: Any) -> None:
    there = transport.get_extra_info("socket")
    if there is None or there.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with socket.socket(fileno=os.dup(there.fileno())) as same:  # uvloop's has no setsockopt
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            if hasattr(socket, name):  # not on every system
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _written(value: object) -> tuple[str, str]:
    """A value's type, and the value as SQL in which nothing of it can be read as anything else."""
    match value:
        case UUID():
            return "uuid", f"'{value.hex}'"
        case float():
            return "double precision", f"'{value!r}'"
        case str():
            return "text", f"convert_from(decode('{value.encode().hex()}', 'hex'), 'UTF8')"
    raise TypeError(f"a {type(value).__name__} cannot be written out")
