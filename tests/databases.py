"""The databases of the session's Postgres: each test has one of its own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

from uow.embedded import EmbeddedPostgres


class Databases(AbstractContextManager["Databases"]):
    """Makes and drops databases, through one connection: thousands of tests ask for it.

    It belongs to no event loop, as every test has another.
    """

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._connection = psycopg.connect(postgres.url.replace("+asyncpg", "", 1), autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def create(self, name: str, template: str = "template1") -> None:
        """Make one that stays."""
        statement = SQL("CREATE DATABASE {} TEMPLATE {}")
        self._connection.execute(statement.format(Identifier(name), Identifier(template)))

    @contextmanager
    def one(self, template: str = "template1") -> Iterator[str]:
        """The URL of one that goes with the block, whoever is connected to it then."""
        name = f"test_{uuid4().hex[:12]}"
        self.create(name, template)
        yield self._postgres.url_for(name)
        statement = SQL("DROP DATABASE {} WITH (FORCE)")
        self._connection.execute(statement.format(Identifier(name)))
