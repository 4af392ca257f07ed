"""The throwaway servers of one pytest session, and a database for each test.

A database is a copy of one that was migrated once. The next copy is made while a test runs, and one
that is used up is dropped then, too: a test waits for neither.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import asyncpg
from redis.asyncio import Redis

from uow.db import migrations
from uow.db.database import Database
from uow.db.migrations.application import AppMigrations
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.testing.memory import directory_in_memory
from uow.testing.portal import Portal

Prepare = Callable[[str], object]
"""Makes the tables of an application in the database of this URL; may be a coroutine function."""

TEMPLATE = "template_of_tests"

_FAST = {"synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
"""Nothing of it has to outlive the tests."""

_OLDEST_WITH_STRATEGY = 150_000


class ThrowawayServers:
    """A Postgres and a Redis, from the start of the first test that asks to the session's end.

    Args:
        app_migrations: Import path of the Alembic folder of the application, which is run after
            ours.
        prepare: Makes tables in another way, after that.
        schema: Of our tables.
    """

    def __init__(
        self, app_migrations: str | None, prepare: Prepare | None, schema: str | None = None
    ) -> None:
        self.portal = Portal()
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.portal.close)
        directory = self._stack.enter_context(directory_in_memory())
        self._postgres = EmbeddedPostgres(directory, settings=_FAST)
        self._redis = EmbeddedRedis()
        self._copying = asyncio.Lock()
        with contextlib.ExitStack() as undo:
            undo.callback(self._stack.close)
            self._start()
            self.portal.wait_for(self._migrate(app_migrations, schema))
            if prepare is not None:
                self._prepare(prepare)
            self._next = self._make_copy()
            undo.pop_all()

    @property
    def redis_url(self) -> str:
        """Of the Redis, for arq."""
        return self._redis.url

    def new_database(self) -> str:
        """The URL of a database of a test's own; Redis is empty."""
        made, self._next = self._next, self._make_copy()
        name = made.result()
        self.portal.wait_for(self._forget())
        return self._postgres.url_for(name)

    def drop(self, url: str) -> None:
        """A database is not needed any more, whoever is connected to it."""
        name = url.partition("@/")[2].partition("?")[0]
        self.portal.submit(self._say(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def close(self) -> None:
        """Stop them."""
        with contextlib.suppress(Exception):
            self._next.result()
        self.portal.wait_for(self._leave())
        self._stack.close()

    def _start(self) -> None:
        with ThreadPoolExecutor() as both:
            starts = [both.submit(one.start) for one in (self._postgres, self._redis)]
        self._stack.callback(self._postgres.stop)
        self._stack.callback(self._redis.stop)
        for started in starts:
            started.result()

    async def _migrate(self, app_migrations: str | None, schema: str | None) -> None:
        self._admin: Any = await asyncpg.connect(self._postgres.url.replace("+asyncpg", "", 1))
        self._emptier = Redis.from_url(self._redis.url)
        await self._say(f"CREATE DATABASE {TEMPLATE}")
        async with Database(self._postgres.url_for(TEMPLATE), schema=schema) as db:
            await migrations.upgrade(db)
            if app_migrations is not None:
                await AppMigrations(app_migrations).upgrade(db)

    def _prepare(self, prepare: Prepare) -> None:
        made = prepare(self._postgres.url_for(TEMPLATE))
        if inspect.iscoroutine(made):
            self.portal.wait_for(made)

    def _make_copy(self) -> "Future[str]":
        return self.portal.submit(self._copy())

    async def _copy(self) -> str:
        name = f"test_{uuid4().hex[:12]}"
        fast = self._postgres_version >= _OLDEST_WITH_STRATEGY
        await self._say(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"
                        f"{' STRATEGY file_copy' if fast else ''}")  # fmt: skip
        return name

    @property
    def _postgres_version(self) -> int:
        version = self._admin.get_server_version()
        return int(version.major * 10_000 + version.minor)

    async def _say(self, statement: str) -> None:
        async with self._copying:
            await self._admin.execute(statement)

    async def _forget(self) -> None:
        await self._emptier.flushall()

    async def _leave(self) -> None:
        await self._emptier.aclose()
        async with self._copying:
            await self._admin.close()
