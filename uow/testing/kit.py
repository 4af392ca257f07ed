"""`Tasks`: what a test does with tasks, inside its own transaction."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import asyncpg

from uow.app import AppParts
from uow.settings.environment import Settings
from uow.tasks.binding import Caller
from uow.tasks.enqueue import Enqueueable
from uow.tasks.handle import TaskHandle
from uow.tasks.reference import TaskRef
from uow.tasks.registry import Registry
from uow.testing.asking import Asking
from uow.testing.client import NestedClient
from uow.testing.database import NestedDatabase
from uow.testing.outer import OuterTransaction
from uow.testing.reloading import read_again
from uow.testing.rowless import RowlessJobs
from uow.testing.rows import Rows
from uow.testing.runner import Runner
from uow.testing.troubles import Troubles
from uow.testing.twice import Effects, Twice
from uow.testing.wanted import Named, Wanted

R = TypeVar("R")

HAS_TABLE = "SELECT has_table_privilege(to_regclass($1), 'select')"


class Tasks(Asking):
    """The tasks of one test.

    Args:
        session: The test's: an `AsyncSession` on a connection whose transaction is rolled back.
        settings: ``ctx["settings"]``; None: the application's, as a worker would read them.
        app: The application; None: the one that a worker would run in this directory.
        registry: The task functions; None: those of `@task`.
        context: More keys of `ctx`, or others than a worker's: an HTTP client that is faked, say.

    Attributes:
        db: A `Database` in the test's transaction: for ``app.state.db``.
        client: A `TaskClient` in it: for ``app.state.client``.

    Raises:
        NotRolledBack: What is done with that session would stay.
        SettingsError: A setting is malformed.
    """

    def __init__(
        self,
        session: Caller,
        *,
        settings: Settings | None = None,
        app: AppParts | None = None,
        registry: Registry | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self._outer = OuterTransaction(session)
        troubles = Troubles()
        runner = Runner(
            lambda schema: NestedDatabase(self._outer, troubles, schema), troubles,
            settings=settings, app=app, registry=registry, context=context,
        )  # fmt: skip
        self.db, chosen = runner.db, runner.settings
        queue = f"{chosen.queue}:test:{uuid4().hex[:12]}"
        rowless = RowlessJobs(queue, chosen.max_payload_bytes)
        super().__init__(runner, Rows(), rowless)
        self.client = NestedClient(self.db, runner.redis, chosen, queue, rowless)
        self._has_table, self._is_open = False, True
        self._outer.on_write(self._look)

    def close(self) -> None:
        """Leave the session alone again; a second time does nothing.

        Raises:
            AssertionError: What `fail_next` was told has not happened.
        """
        if self._is_open:
            self._is_open = False
            self.client.close_outlet()
            self._outer.close()
            self._refuse_what_never_came()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._runner.troubles.next = None  # one failure is enough
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    async def run_twice(
        self,
        f: Named,
        /,
        *,
        effects: Effects | None = None,
        before: Callable[[], object] | None = None,
        **arguments: object,
    ) -> list[str]:
        """Run a task, let its worker die wherever it can, run it again: it must be as if run once.

        It is run once without a death, to see what it does; then once for each point at which a
        worker can die, and after that as the next worker runs it. All of it is undone each time.

        Args:
            f: A task function, one with options, or a name.
            effects: What has happened so far: a number, a list, a set, or a dict of them, from a
                function without arguments, which may be a coroutine function. Its growth is
                compared. Without one it is the number of rows in each of your tables, and of tasks
                by name.
            before: Is called before each run, to forget what has happened outside of Postgres.
            **arguments: Of the task.

        Returns:
            Where the worker died, in words.

        Raises:
            AssertionError: The effects differ; it says where the worker died, and in what.
        """
        __tracebackhide__ = True
        wanted = Wanted.of(f, arguments, self._runner.registry)
        named = wanted.function or TaskRef(wanted.name)
        async with self._turn():
            await self._outer.session.connection()  # its savepoint is outside of what is undone
            await self._refresh()
            found = next(iter(self.enqueued(f, **arguments)), None)
            given = arguments if found is None else wanted.arguments_of(found)
            twice = Twice(self._runner, self._outer, self.client, self._rowless, effects, before)
            durable = wanted.function is None or wanted.function.durable
            return await twice.run(named, given, durable=durable)

    async def _before_it_runs(self) -> None:
        self._outer.refuse_if_lost()
        await self._outer.session.flush()

    async def _after_it_ran(self) -> None:
        self._outer.refuse_if_lost()
        await self._refresh()
        await read_again(self._outer.session)

    async def _enqueue(
        self, named: Enqueueable[Any, R], arguments: Mapping[str, Any]
    ) -> TaskHandle[R]:
        return await named.enqueue(self._outer.session, **arguments)

    async def _refresh(self) -> None:
        try:
            await super()._refresh()
        except asyncpg.PostgresError as error:
            refusal = await self.client.refusal_of(error)
            if refusal is None:
                raise
            raise refusal from error

    def _look(self) -> None:
        """Read the rows after a statement of somebody's, in SQLAlchemy's greenlet."""
        if self._is_running or not self._finds_table():
            return
        reading = self._rows.reading()
        self._rows.take(self._outer.read(*reading.for_driver(self.db.schema)))

    def _finds_table(self) -> bool:
        """Asked first: a statement about a table that is not there would spoil the test's own."""
        if not self._has_table:
            table = f'"{self.db.schema}".task'
            self._has_table = bool(self._outer.read(HAS_TABLE, [table])[0][0])
        return self._has_table


tasks = Tasks
"""As it reads well: ``async with uow.testing.tasks(session) as tasks``."""
