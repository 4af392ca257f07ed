"""Where in a database our tables are, for whoever does not find them where they should be.

They may be in a schema that nobody has named: the default has been `public` before. Made anew in
another one, they would be two sets, and what waits in the first would never run. So who finds none
is told where there are some.
"""

import shlex
from collections.abc import Iterable

from sqlalchemy import text

from uow.errors import SchemaError

VERSION_TABLE = "worker_alembic_version"
"""Wherever it is, our tables are."""

SETS = text(
    """
    SELECT CAST(space.nspname AS text) FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
    WHERE relation.relname = 'worker_alembic_version' AND relation.relkind = 'r' ORDER BY 1
    """
)
"""The schemas of this database that have tables of ours."""


def not_there(schema: str, sets: Iterable[str], *, given: bool) -> SchemaError:
    """What to say when `schema` has no tables of ours.

    Args:
        sets: The schemas that have.
        given: Whether somebody has named `schema`; else it is the default.
    """
    others = [one for one in sets if one != schema]
    if given or not others:
        return SchemaError(f'schema "{schema}" has no tables of ours: run `worker migrate` first')
    name = shlex.quote(others[0])
    return SchemaError(
        f"our tables are in schema {_listed(others)}, and the default is {schema}: set "
        f"WORKER_DATABASE_SCHEMA={name} in every process to leave them there, or stop the workers "
        f"and move them with `worker migrate --move-from {name}`"
    )


def beside(schema: str, sets: Iterable[str]) -> str:
    """What to say of others' tables when nobody has named `schema`; empty: there are none."""
    others = [one for one in sets if one != schema]
    if not others:
        return ""
    return (
        f"schema {_listed(others)} has tables of ours, too; tasks that wait there run if some "
        f"worker has WORKER_DATABASE_SCHEMA={shlex.quote(others[0])}. This is about schema "
        f'"{schema}", the default: set WORKER_DATABASE_SCHEMA={schema} and nothing is said'
    )


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f'"{name}"' for name in names)
