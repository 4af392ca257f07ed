"""An attempt's transaction as a savepoint in the test's own.

Never the word COMMIT: what it would bring about is brought about here. Deferred constraints are
checked, as who the task has become; the completion is written as who we are, under its guard; then
the savepoint is released, which is as far as it goes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Connection, Engine, NestedTransaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from uow.db.session import WorkerSession
from uow.db.statement import Statement
from uow.testing.errors import NotAvailable
from uow.testing.outer import OuterTransaction
from uow.testing.troubles import Troubles

_DEFERRED = """
    SELECT string_agg(DISTINCT format('%I.%I', nspname, conname), ', ')
    FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace WHERE condeferred"""


class NestedAttempt:
    """What an attempt works on: see `uow.db.begun_attempt.Begun`.

    Args:
        options: Of a session that has a "transaction" of its own: a savepoint as well.
        troubles: What is to go wrong with it.
    """

    is_nested = True

    def __init__(
        self,
        outer: OuterTransaction,
        schema: str,
        options: Mapping[str, Any],
        troubles: Troubles,
    ) -> None:
        self._outer = outer
        self._schema = schema
        self._options = options
        self._troubles = troubles
        self._savepoint: NestedTransaction | None = None

    @property
    def session_options(self) -> Mapping[str, Any]:
        """Asked for each time that a session is opened."""
        self._troubles.before_a_block()
        return self._options

    @property
    def is_untouched(self) -> bool:
        """Whether it has no savepoint."""
        return self._savepoint is None

    @property
    def is_lost(self) -> bool:
        """Whether the test's transaction is."""
        return self._outer.is_lost

    @property
    def lost_by(self) -> BaseException | None:
        """Nobody asks: the test has failed."""
        return None

    @property
    def has_begun(self) -> bool:
        """Whether the savepoint is there."""
        return self._savepoint is not None and self._savepoint.is_active

    @property
    def has_said_something(self) -> bool:
        """A savepoint is said at once."""
        return self.has_begun

    def connect(self) -> None:
        """The connection is there, unless it is lost.

        Raises:
            TransactionLost: It is.
        """
        self._outer.refuse_if_lost()

    def begin(self) -> Connection:
        """The test's connection, with the savepoint set."""
        if not self.has_begun:
            self._savepoint = self._outer.connection.begin_nested()
            self._outer.attempt_begins()
        return self._outer.connection

    def replace(self) -> None:
        """There is no other connection.

        Raises:
            TransactionLost: Always: it is asked for when this one is.
        """
        self._outer.refuse_if_lost()

    def terminate(self) -> None:
        """Something of the attempt runs on it still: nobody knows what else that will do."""
        if self._outer.is_lost:  # the reason is known
            return
        self._outer.lose(
            "a statement of the attempt still ran on the test's own connection when its block had "
            "ended, so nobody knows what that does: await what is started in a task, or test it "
            "with the fixture embedded_tasks, which has real connections"
        )

    async def drop(self) -> None:
        """A thread goes on with the test's connection, which is of no use then."""
        self.terminate()

    @property
    def engine(self) -> Engine:
        """Refused: a block in a thread has a connection of its own.

        Raises:
            NotAvailable: Always.
        """
        raise NotAvailable(
            "a def with atomic=False has a connection for each block, and this test has one: use "
            "the fixture embedded_tasks"
        )

    def refuse_if_ended_by_hand(self) -> None:
        """Such a statement was refused before it was said."""

    def commit_after(self, completion: Statement) -> None:
        """Bring about what a COMMIT would, with `completion`, and only if that returns a row.

        Raises:
            DBAPIError: Of a deferred constraint; or with the SQLSTATE of a guard that has failed.
        """
        connection = self._outer.connection
        try:
            self._troubles.before_commit()
            self._check_constraints()
            _refuse_if_none(connection.execute(*completion.for_sqlalchemy(self._schema)).all())
        except BaseException:
            self.give_back()
            raise
        self._release()
        self._troubles.after_commit()

    def commit(self) -> None:
        """Bring about what a COMMIT would, without a completion."""
        try:
            self._troubles.before_commit()
            self._check_constraints()
        except BaseException:
            self.give_back()
            raise
        self._release()

    def give_back(self) -> None:
        """Undo what is not "committed"."""
        savepoint, self._savepoint = self._savepoint, None
        if savepoint is None:
            return
        self._outer.refuse_if_lost()
        try:
            savepoint.rollback()
        finally:
            self._outer.attempt_ends()

    async def take_back(self, session: WorkerSession) -> None:
        """Close a session that is still open."""
        try:
            await session.close()
        except SQLAlchemyError:
            self.terminate()

    def fence(self, connection: Connection) -> None:
        """Nothing: the test's transaction has no fence."""

    def commit_only_after(self, connection: Connection, statement: Statement) -> bool:
        """Refuse the "commit" of a block unless `statement` returns a row.

        Raises:
            DBAPIError: With the SQLSTATE of a guard that has failed.
        """
        sql, values = statement.for_driver(self._schema)
        _refuse_if_none(self._outer.wait_for(self._outer.fetch(sql, values)))
        return True

    def _check_constraints(self) -> None:
        connection = self._outer.connection
        deferred = self._outer.read(_DEFERRED)[0][0]
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        if deferred is not None:
            connection.exec_driver_sql(f"SET CONSTRAINTS {deferred} DEFERRED")
        self._outer.as_before()

    def _release(self) -> None:
        savepoint, self._savepoint = self._savepoint, None
        assert savepoint is not None  # noqa: S101 - a session has joined in it
        savepoint.commit()
        self._outer.attempt_ends()


def _refuse_if_none(records: Sequence[Any]) -> None:
    if not records:
        failed = asyncpg.DivisionByZeroError("the guard of a completion did not hold")
        raise DBAPIError("a completion", None, failed)
