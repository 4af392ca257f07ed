"""What our role may do: the grants of docs/database.md."""

from uow.db.fragments import quoted
from uow.db.server_facts import may_use, missing_rights, server_facts
from uow.questions.doctor.finding import Finding, broken
from uow.questions.doctor.schema import OURS
from uow.questions.doctor.visit import Needs, Visit, check

LACKS = broken("roles.lacks", "A worker with this role is refused what it needs.")


@check(Needs.TABLES)
async def grants(visit: Visit) -> list[Finding]:
    """Whether it has all that a worker needs."""
    schema, role = quoted(visit.db.schema), quoted((await server_facts(visit.db)).role)
    found = []
    if not await may_use(visit.db, visit.db.schema):
        mend = f"GRANT USAGE ON SCHEMA {schema} TO {role}"
        found.append(LACKS.found(f"role {role} may not use schema {schema}", mend))
    missing = await missing_rights(visit.db, visit.db.schema, OURS)
    for table, rights in missing.items():
        said = f"role {role} lacks {', '.join(rights)} on {schema}.{table}"
        mend = f"GRANT {', '.join(rights)} ON {schema}.{table} TO {role}"
        found.append(LACKS.found(said, mend))
    return found
