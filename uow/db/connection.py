"""The driver's connection, which can say more with a BEGIN and a COMMIT: in one round trip.

SQLAlchemy, and asyncpg's own transaction below it, say ``BEGIN`` and ``COMMIT`` as ever. Here the
one becomes ``BEGIN; SET LOCAL …``, and the other ``EXECUTE …; COMMIT``, which Postgres takes as one
message and of which it does all or nothing. Such a message has no parameters; values are written
into it, as digits alone. It also makes the session as new for the next one: see
`uow.db.session_state`.

And it knows whether it is idle. A statement that somebody has left running (`asyncio.gather` on one
session, of which one part fails) makes the driver refuse a ROLLBACK; SQLAlchemy then takes the
connection for clean, and whoever gets it next works in a transaction that nobody commits.
"""

import os
import re
import socket
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
from asyncpg.protocol.protocol import PreparedStatementState

from uow.db import built_in
from uow.db.session_state import AS_NEW, AS_OURSELVES

GUARD_FAILED = "22012"
"""The SQLSTATE of a commit whose last statement has changed no row: division by zero. A deferred
trigger of the user's may have it, too: the row tells."""

ENDED_BY_HAND = "2201E"
"""The SQLSTATE of a commit whose transaction was begun by a statement, after one had ended ours (a
``COMMIT AND CHAIN``): a logarithm of zero."""

BEGUN = "SET LOCAL worker.begun = '1';"
"""Marks a transaction, for as long as it lasts."""

_GUARDED = """
    WITH last AS ({}) SELECT CASE current_setting('worker.begun', true)
        WHEN '1' THEN 1 / count(*) ELSE CAST(ln(0.0 * count(*)) AS bigint) END FROM last"""

_GUARDED_UNMARKED = "WITH last AS ({}) SELECT 1 / count(*) FROM last"

_COMMIT, _ROLLBACK = "COMMIT;", "ROLLBACK;"
"""As asyncpg's transaction says it."""


KEEP_ALIVE = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 25_000,
}
"""Seconds, how often, and milliseconds: a server behind a network that drops everything is found
out by the kernel, whoever waits for it. While nothing is under way it asks by itself; what was sent
and never acknowledged it gives up after as long, for then it does not ask. (A server that is
stopped still acknowledges: our own statements have limits.)"""


class Connection(asyncpg.Connection):  # type: ignore[misc] # it has no types
    """A connection of our pool.

    Attributes:
        has_session: The session of Postgres is its own; False: behind a proxy that pools
            transactions, where what is set for longer than one meets somebody else.
        is_spoilt: It is to serve nobody any more when it has come back.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        _keep_alive(args[1])
        self._first_words = self._last_words = ""
        self._names: dict[str, str] = {}
        self._names_given = 0
        self._queries_ended = self._queries_as_new = -1
        self._as_new = AS_NEW
        self.has_session = True
        self.is_spoilt = False
        self._nothing = PreparedStatementState("", "", self._protocol, asyncpg.Record, False)

    def is_idle(self) -> bool:
        """Whether it is open, runs no statement and is in no transaction; asks no server.

        The driver refuses a second statement before it looks at what the statement is given: who
        gives it nothing, and is told so, has found it idle. Which is not tried again until
        something else was begun, nor after a COMMIT.
        """
        if self.is_closed() or self.is_in_transaction():
            return False
        if self._protocol.queries_count != self._queries_ended:
            if self._is_busy():
                return False
            self._note_ended()
        return True

    def _note_ended(self) -> None:
        """What has been begun until now has ended."""
        self._queries_ended = self._protocol.queries_count

    @property
    def is_as_new(self) -> bool:
        """Whether it is open, and nobody has said anything on it since it was made as new."""
        if self.is_closed() or self.is_spoilt:
            return False
        return bool(self._protocol.queries_count == self._queries_as_new)

    def note_as_new(self) -> None:
        """What was said on it until now has changed nothing for who comes next."""
        self._queries_as_new = self._protocol.queries_count

    async def make_as_new(self) -> None:
        """Let its session forget whatever was set in it."""
        if self.has_session:
            await super().execute(self._as_new)
        self.note_as_new()

    def keep(self, settings: str) -> None:
        """Let `settings` (``SET …;``) be part of what its session is when it is as new."""
        self._as_new += settings

    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> Any:
        """As asyncpg's, which each new connection asks about the types that it meets."""
        return await built_in.introspected(frozenset(typeoids), super()._introspect_types, timeout)

    def was_ended_by_hand(self) -> bool:
        """Whether a statement, and not the driver, has ended the transaction that it has begun."""
        return self._top_xact is not None and not self.is_in_transaction()

    def _is_busy(self) -> bool:
        if self._protocol._is_cancelling():  # noqa: SLF001 - it would wait for the end of that
            return True
        probe = self._protocol.bind_execute(self._nothing, None, "", 0, False, None)
        try:
            probe.send(None)
        except asyncpg.InternalClientError:  # "expected a sequence"
            return False
        except asyncpg.InterfaceError:  # "another operation is in progress"
            return True
        raise AssertionError("the driver has run a statement that there was not")

    def begin_with(self, settings: str) -> None:
        """Let the next BEGIN bring `settings` along (``SET LOCAL …;``); empty: nothing.

        Behind a pooling proxy, too, they are where the transaction is.
        """
        self._first_words = settings

    def begin_as_ever(self) -> None:
        """Forget what a BEGIN or COMMIT that was never said would have brought along."""
        self._first_words = self._last_words = ""

    def commit_only_after(
        self, statement: str, values: Sequence[object], *, marked: bool = True
    ) -> None:
        """Let the next COMMIT come after `statement`, and only if that returns a row.

        If it does not, the commit raises `GUARD_FAILED`; if the transaction is not the one that
        began with `BEGUN`, `ENDED_BY_HAND`. After these and any other error it was rolled back; but
        after the loss of the connection nobody knows.

        `statement` runs as who has opened the connection, whatever the transaction has set, and
        after it the session is as new.

        Args:
            statement: With ``$1``, ``$2``, … for the `values`.
            marked: The transaction has begun with `BEGUN`, and that is to be seen to.
        """
        guarded = (_GUARDED if marked else _GUARDED_UNMARKED).format(statement)
        self._last_words = AS_OURSELVES + self._literally(guarded, values)

    def _literally(self, statement: str, values: Sequence[object]) -> str:
        """`statement` with its values; planned once, but for a session that is not its own."""
        written = [_written(value) for value in values]
        if self.has_session:
            types = ", ".join(type_ for type_, _ in written)
            prepared, name = self._named(statement, types)
            literals = ", ".join(literal for _, literal in written)
            return f"{prepared} EXECUTE {name} ({literals});"
        casts = [f"CAST({literal} AS {type_})" for type_, literal in written]
        return re.sub(r"\$(\d+)", lambda n: casts[int(n[1]) - 1], statement) + ";"

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """As asyncpg's. A ROLLBACK of a busy connection ends it, which rolls back, too.

        Raises:
            asyncpg.InFailedSQLTransactionError: A COMMIT was none: Postgres has rolled back an
                aborted transaction, which the driver takes for success.
        """
        if query == _ROLLBACK:
            self._last_words = ""
            if self._is_busy():
                self.terminate()
                return "ROLLBACK"
        if self._first_words and query.startswith("BEGIN"):
            return await self._begin(query, timeout)
        if self._last_words:
            return await self._commit_guarded(query, timeout)
        said = str(await super().execute(query, *args, timeout=timeout))
        if query == _COMMIT and said == "ROLLBACK":
            raise asyncpg.InFailedSQLTransactionError(
                "nothing was committed: the transaction was aborted by an earlier error"
            )
        return said

    async def _commit_guarded(self, query: str, timeout: float | None) -> str:
        last_words, self._last_words = self._last_words, ""
        if query != _COMMIT:  # never a COMMIT without them
            raise asyncpg.InterfaceError(f"a COMMIT was expected, not {query!r}")
        as_new = self._as_new if self.has_session else ""
        try:
            await super().execute(last_words + query + as_new, timeout=timeout)
            self._note_ended()
            self.note_as_new()
            return "COMMIT"
        except asyncpg.PostgresError as error:
            self._names.clear()  # nobody knows how far it came
            if not self.is_closed():
                await self._find_out(error)
            raise

    async def _find_out(self, error: asyncpg.PostgresError) -> None:
        """Roll back after a message with a COMMIT has failed; or end what may be committed."""
        if self.is_in_transaction():
            await super().execute(_ROLLBACK)
        elif not isinstance(error, asyncpg.TransactionRollbackError):
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError(
                f"the answer to a COMMIT was an error, perhaps of what came after it ({error}): "
                "its connection was ended"
            ) from error

    async def _begin(self, query: str, timeout: float | None) -> str:
        first_words, self._first_words = self._first_words, ""
        try:
            return str(await super().execute(query + first_words, timeout=timeout))
        except asyncpg.PostgresError:
            self.terminate()  # the driver believes that it has begun; the pool replaces it
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
        case int():
            return "bigint", str(int(value))
        case float():
            return "double precision", f"'{value!r}'"
        case str():
            return "text", f"convert_from(decode('{value.encode().hex()}', 'hex'), 'UTF8')"
    raise TypeError(f"a {type(value).__name__} cannot be written out")
