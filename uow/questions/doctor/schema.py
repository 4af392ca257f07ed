"""Our tables: whether they are there, and as this version wants them."""

from uow.db.models import Base
from uow.db.server_facts import invalid_indexes
from uow.questions.doctor.finding import Finding, broken, unknown, warning
from uow.questions.doctor.visit import CHECK_SECONDS, Needs, Visit, check

ABSENT = broken("schema.absent", "No task can be enqueued or run: our tables are not there.")
BEHIND = broken("schema.behind", "Processes of this version do not start on these tables.")
AHEAD = warning(
    "schema.ahead", "A newer version has migrated: what runs of this one is to be replaced."
)
SECOND = warning("schema.second-set", "What waits in another set of our tables runs nowhere here.")
INVALID = warning("schema.index-invalid", "It is written and never read: lists are slow.")
UNREAD = unknown(
    "schema.unread", "Without Alembic nobody knows which revisions this version wants."
)
OURS = tuple(sorted(table.name for table in Base.metadata.tables.values()))


@check(Needs.POSTGRES)
async def migrations(visit: Visit) -> list[Finding]:
    """Whether they are at the newest revision."""
    try:
        from uow.db.migrations.standing import standing
    except ModuleNotFoundError:
        return [UNREAD.found("alembic is not installed", "pip install 'uow-worker[run]'")]
    stands = await standing(visit.database, limit=CHECK_SECONDS)
    where = f'schema "{visit.db.schema}"'
    found = []
    if stands.at is None:
        found.append(ABSENT.found(f"{where} has no tables of ours", "worker migrate"))
    elif not stands.known:
        said = f"{where} is at {stands.at}, which this version does not know"
        found.append(AHEAD.found(said, "deploy the version that has migrated everywhere"))
    elif stands.missing:
        said = f"{where} is at {stands.at} and lacks {', '.join(stands.missing)}"
        found.append(BEHIND.found(said, "worker migrate"))
    if stands.sets and not visit.database.schema_is_given:
        said = f"there are tables of ours in {', '.join(stands.sets)}, too; this is {where}"
        found.append(SECOND.found(said, f"export WORKER_DATABASE_SCHEMA={visit.db.schema}"))
    return found


@check(Needs.TABLES)
async def indexes(visit: Visit) -> list[Finding]:
    """Whether each index of ours is whole."""
    found = await invalid_indexes(visit.db, visit.db.schema, OURS)
    return [
        INVALID.found(
            f"index {name} was begun and not finished",
            f'DROP INDEX CONCURRENTLY "{visit.db.schema}"."{name}"; '
            f"{definition.replace('INDEX', 'INDEX CONCURRENTLY', 1)}",
        )
        for name, definition in found
    ]
