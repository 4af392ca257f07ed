"""Statements on a cursor of any DB-API driver that writes parameters as ``%s``.

Past SQLAlchemy, which costs as much as the statement; and where there is none, as in Django.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.types import TypeEngine

from uow.db.statement import Records, Statement, Template

_DIALECT = PGDialect(paramstyle="format")  # type: ignore[no-untyped-call]


class Cursor(Protocol):
    """As much of a DB-API cursor as we need."""

    def execute(self, sql: Any, parameters: Any = ..., /) -> object:
        """Run a statement."""

    def fetchall(self) -> Sequence[Any]:
        """The rows of the last one."""


def run_with(cursor: Cursor, schema: str, statement: Statement) -> Records:
    """Run `statement` in the transaction that the cursor's connection is in."""
    sql, names = _written(statement.template, schema)
    cursor.execute(sql, [_plain(statement.values[name]) for name in names])
    return cursor.fetchall()


@lru_cache(maxsize=500)
def _written(template: Template, schema: str) -> tuple[str, Sequence[str]]:
    """The text, in which each typed parameter says its type, and the names of its places."""
    text = template.written(schema).clause.compile(dialect=_DIALECT)
    names = text.positiontup or ()
    first, *others = str(text).split("%s")
    places = [_place(template.types.get(name)) for name in names]
    return first + "".join(map(str.__add__, places, others)), names


def _place(type_: TypeEngine[Any] | None) -> str:
    return "%s" if type_ is None else f"CAST(%s AS {type_.compile(dialect=_DIALECT)})"


def _plain(value: object) -> object:
    """What every driver can write; psycopg2 knows no UUID unless somebody has told it."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list):
        return _array(value)
    return value


def _array(items: list[object]) -> str:
    """An array as Postgres reads it: drivers write one item by item, which large batches notice."""
    return "{" + ",".join(map(_item, items)) + "}"


def _item(value: object) -> str:
    if value is None:
        return "NULL"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
