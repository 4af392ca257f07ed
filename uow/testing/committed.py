"""Tasks in a database that a test has for itself: everything commits."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from uow.broker.redis import connect
from uow.client import TaskClient
from uow.db.begun_attempt import Begun, BegunAttempt
from uow.db.database import Database
from uow.db.statement import Statement
from uow.settings.environment import Settings
from uow.tasks.enqueue import Enqueueable
from uow.tasks.handle import TaskHandle
from uow.tasks.outlets import Outlet, close_outlet, open_outlet
from uow.testing.asking import Asking
from uow.testing.rowless import RowlessJobs
from uow.testing.rows import Rows
from uow.testing.runner import Runner
from uow.testing.troubles import Troubles

R = TypeVar("R")


class CommittedTasks(Asking):
    """`Asking` over real connections; all of it in one event loop.

    Args:
        **options: As `uow.testing.Tasks` takes them: app, registry, context.
    """

    def __init__(self, settings: Settings, **options: Any) -> None:
        troubles = Troubles()
        redis = connect(settings.redis_url.get_secret_value(), queue=settings.queue)
        options["context"] = {"redis": redis, **(options.get("context") or {})}
        made = partial(_open, settings, troubles)
        runner = Runner(made, troubles, **{**options, "settings": settings})
        runner.redis = redis
        rowless = RowlessJobs(settings.queue, settings.max_payload_bytes)
        super().__init__(runner, Rows(all_of_them=True), rowless)
        self._client = TaskClient(runner.db, redis, settings)  # not open: nothing is to be pushed
        self._outlet = Outlet(
            settings.database_schema,
            settings.queue,
            settings.max_payload_bytes,
            engine=runner.db.engine.sync_engine,
            stands_alone=True,
        )
        open_outlet(self._outlet)

    async def look(self) -> None:
        """Read the rows."""
        await self._refresh()

    async def close(self) -> None:
        """Close its connections.

        Raises:
            AssertionError: What `fail_next` was told has not happened.
        """
        close_outlet(self._outlet)
        await self._runner.db.dispose()
        await self._runner.redis.aclose()
        self._refuse_what_never_came()

    async def _after_it_ran(self) -> None:
        await self._refresh()

    async def _enqueue(
        self, named: Enqueueable[Any, R], arguments: Mapping[str, Any]
    ) -> TaskHandle[R]:
        return await self._client.enqueue(named, **arguments)


class FailingAttempt(BegunAttempt):
    """A real one, whose COMMIT meets what a test has asked for."""

    def __init__(self, troubles: Troubles, *of_attempt: Any) -> None:
        self._troubles = troubles
        self._options: Mapping[str, Any] = {}
        super().__init__(*of_attempt)

    @property
    def session_options(self) -> Mapping[str, Any]:
        """Asked for each time that a session is opened."""
        self._troubles.before_a_block()
        return self._options

    @session_options.setter
    def session_options(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def commit_after(self, completion: Statement) -> None:
        """COMMIT with `completion`."""
        self._troubles.before_commit()
        super().commit_after(completion)
        self._troubles.after_commit()

    def begin(self) -> Connection:
        """The connection, unless the worker is dead."""
        self._troubles.refuse_if_dead()
        return super().begin()


class FailingDatabase(Database):
    """A real one, whose attempts are such."""

    troubles: Troubles

    def begin_attempt(self, timeout: float) -> Begun:  # type: ignore[override] # it does the same
        """What an attempt works on."""
        fence = partial(self.fence, timeout=timeout)
        engine, options = self.engine.sync_engine, self.sessions.kw
        return FailingAttempt(self.troubles, engine, self.schema, options, fence)


def _open(settings: Settings, troubles: Troubles, schema: str) -> Database:
    db = FailingDatabase.from_settings(settings.require_database())
    db.troubles = troubles
    return db
