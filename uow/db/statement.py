"""What a statement of ours is: a text that our schema is written into, and the types of its values.

The modules of this package that are about something (`attempts`, `outcomes`, `fleet`, …) have the
statements, each beside the function that runs it. A `Template` is the text; called with values it
is a `Statement`, which can be run, or be sent along with an attempt's COMMIT.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from sqlalchemy import Connection, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Boolean, Double, Integer, Text, TypeEngine, Uuid

from uow.db import direct
from uow.db.fragments import fragments_in

SILENT_SECONDS = 30.0
"""A Postgres that has not answered a statement of ours for so long counts as away. A stopped server
and a network that drops everything end no connection: nobody else would ever tell."""

BOOLEAN = Boolean()
ID, IDS = Uuid(), ARRAY(Uuid())
INTEGER, INTEGERS = Integer(), ARRAY(Integer())
MOMENT, MOMENTS = TIMESTAMP(timezone=True), ARRAY(TIMESTAMP(timezone=True))
REAL, REALS = Double[float](), ARRAY(Double[float]())
TEXT, TEXTS = Text(), ARRAY(Text())
"""The types of values; what has none is of the type of the column that it is written to."""

Records = Sequence[Any]
"""Rows, each like a tuple. The functions of this package make values of them; nobody else sees
them."""


class Template:
    """A statement without its values.

    Args:
        sql: With `{fragments}` (`uow.db.fragments`) and `:parameters`; the schema is the only thing
            of it that is neither the same everywhere nor a parameter.
        types: Those of its parameters that do not follow from the text.
    """

    def __init__(self, sql: str, types: Mapping[str, TypeEngine[Any]]) -> None:
        self.sql = sql
        self.types = types
        self._written: dict[str, Written] = {}

    def __call__(self, **values: object) -> "Statement":
        """The statement, with its values."""
        return Statement(self, values)

    def written(self, schema: str) -> "Written":
        """The text with our tables in `schema`, made once."""
        written = self._written.get(schema)
        if written is None:
            written = self._written[schema] = self._write(schema)
        return written

    def _write(self, schema: str) -> "Written":
        typed = [bindparam(name, type_=type_) for name, type_ in self.types.items()]
        return Written.of(text(self.sql.format(**fragments_in(schema))).bindparams(*typed))


@dataclass(frozen=True, slots=True)
class Written:
    """A template in a schema.

    Attributes:
        clause: For SQLAlchemy.
        sql: For the driver: with ``$1``, ``$2``, ….
        names: The parameters in that order.
    """

    clause: TextClause
    sql: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, clause: TextClause) -> Self:
        """As the driver wants it."""
        sql, places = direct.compiled(clause)
        return cls(clause, sql, tuple(place.name for place in places))


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with its values; of whichever schema it is run in."""

    template: Template
    values: Mapping[str, object]

    def for_driver(self, schema: str) -> tuple[str, list[object]]:
        """Text and values as the driver wants them."""
        written, values = self.template.written(schema), self.values
        return written.sql, [values[name] for name in written.names]

    def for_sqlalchemy(self, schema: str) -> tuple[TextClause, Mapping[str, object]]:
        """Text and values as a connection of SQLAlchemy's wants them."""
        return self.template.written(schema).clause, self.values


TEMPLATES: dict[str, Template] = {}
"""Every statement there is, by its name."""


def template(name: str, sql: str, /, **types: TypeEngine[Any]) -> Template:
    """Define a statement."""
    if name in TEMPLATES:
        raise ValueError(f"there are two statements {name}")
    one = TEMPLATES[name] = Template(sql, types)
    return one


Run = Callable[[Statement], Records]
"""Runs a statement in a transaction of somebody else's; errors are as that says them."""


def run_on(connection: Connection, schema: str, statement: Statement) -> Records:
    """A `Run` on a connection of SQLAlchemy's."""
    return connection.execute(*statement.for_sqlalchemy(schema)).all()


class InSession:
    """Runs statements of ours in the transaction of a session of somebody's."""

    def __init__(self, session: AsyncSession, schema: str) -> None:
        self._session = session
        self._schema = schema

    async def execute_once(self, statement: Statement, *, limit: float = SILENT_SECONDS) -> Records:
        """Run it, without a limit of our own.

        Raises:
            DBAPIError: As SQLAlchemy says it.
        """
        return (await self._session.execute(*statement.for_sqlalchemy(self._schema))).all()


class Statements(Protocol):
    """Where a statement of ours can be run: a `Database`, or a transaction of it."""

    async def execute_once(self, statement: Statement, *, limit: float = SILENT_SECONDS) -> Records:
        """Run it; by a `Database` in a short transaction of its own.

        Args:
            limit: Seconds that it may take; a transaction has a limit of its own.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
            ServerUnreachable: Postgres did not answer within `limit`.
            sqlalchemy.exc.TimeoutError: No connection of the pool came free within `limit`.
        """
