"""How far a database is in our history, seen without a lock."""

from dataclasses import dataclass
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import text

from uow.db.database import Database
from uow.db.fragments import quoted
from uow.db.whereabouts import SETS

_NO_REVISIONS = frozenset({"users_001"})  # an application's now: see `uow.db.migrations`


@dataclass(frozen=True, slots=True)
class SchemaStanding:
    """How far a database is.

    Attributes:
        at: Its revision; None: our tables are not there.
        missing: The revisions that are still to come.
        known: Whether this version knows the one that it is at.
        sets: The other schemas that have tables of ours.
    """

    at: str | None
    missing: tuple[str, ...]
    known: bool
    sets: tuple[str, ...]


def chain() -> tuple[str, ...]:
    """Our revisions, in order."""
    script = ScriptDirectory(str(Path(__file__).parent))
    return tuple(one.revision for one in script.iterate_revisions("head", "base"))[::-1]


async def standing(db: Database, *, limit: float) -> SchemaStanding:
    """How far it is.

    Args:
        limit: Seconds that each of two statements may take.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError, ServerUnreachable: As `execute_once` of `db`.
    """
    found = await db.execute_once(SETS, {}, limit=limit)
    sets = tuple(found.scalars())
    others = tuple(one for one in sets if one != db.schema)
    if db.schema not in sets:
        return SchemaStanding(None, chain(), known=True, sets=others)
    statement = f"SELECT version_num FROM {quoted(db.schema)}.worker_alembic_version"  # noqa: S608 - a quoted name
    found = await db.execute_once(text(statement), {}, limit=limit)
    at = next(iter({*found.scalars()} - _NO_REVISIONS), None)
    return _standing(at, others)


def _standing(at: str | None, others: tuple[str, ...]) -> SchemaStanding:
    known = chain()
    if at is None or at not in known:
        return SchemaStanding(at, known if at is None else (), known=at is None, sets=others)
    return SchemaStanding(at, known[known.index(at) + 1 :], known=True, sets=others)
