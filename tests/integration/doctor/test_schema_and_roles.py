"""Tables that are not there, behind or ahead; and roles that may too little."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from tests.integration.doctor.conftest import Find, Say
from tests.migrations.history import up_to
from uow import Database
from uow.db import migrations
from uow.db.migrations.standing import chain
from uow.questions.doctor.schema import OURS


async def test_tables_that_are_not_there(find: Find, empty_database_url: str) -> None:
    found = await find(database_url=SecretStr(empty_database_url))
    assert {*found} == {"schema.absent", "doctor.unlooked"}
    assert found["schema.absent"].mend == "worker migrate"


async def test_tables_that_are_behind(
    find: Find, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    up_to(monkeypatch, chain()[-2])
    async with Database(empty_database_url) as db:
        await migrations.upgrade(db)
    found = await find(database_url=SecretStr(empty_database_url))
    assert found["schema.behind"].proof.endswith(f"is at {chain()[-2]} and lacks {chain()[-1]}")


@pytest.mark.usefixtures("healthy")
async def test_tables_that_are_ahead(find: Find, say: Say) -> None:
    await say("UPDATE worker_alembic_version SET version_num = 'tasks_999'")
    assert {*(found := await find())} == {"schema.ahead"}
    assert "tasks_999" in found["schema.ahead"].proof


@pytest.mark.usefixtures("healthy")
async def test_a_second_set_of_tables(find: Find, say: Say) -> None:
    await say("CREATE SCHEMA other")
    await say("CREATE TABLE other.worker_alembic_version (version_num text)")
    found = await find()
    assert found["schema.second-set"].mend == "export WORKER_DATABASE_SCHEMA=worker"
    assert await find(database_schema="worker") == {}


@pytest.mark.usefixtures("healthy")
async def test_an_index_that_was_left_half_made(find: Find, say: Say, db: Database) -> None:
    await say("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_task_user'::regclass")
    mend = (await find())["schema.index-invalid"].mend
    drop, _, create = mend.partition("; ")
    async with db.engine.connect() as connection:
        driver = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await driver.exec_driver_sql(drop)
        await driver.exec_driver_sql(create)
    assert await find() == {}


@pytest.fixture
async def role(say: Say) -> AsyncIterator[str]:
    """A role that may read nothing yet."""
    name = f"weak_{uuid4().hex[:8]}"
    await say(f"CREATE ROLE {name} LOGIN")
    yield name
    await say(f"DROP OWNED BY {name}")
    await say(f"DROP ROLE {name}")


@pytest.mark.usefixtures("healthy")
async def test_a_role_is_told_the_grants_that_it_lacks_and_with_them_all_is_well(
    find: Find, say: Say, database_url: str, role: str
) -> None:
    url = make_url(database_url).set(username=role).render_as_string(hide_password=False)
    found = await find(database_url=SecretStr(url))
    assert found["roles.lacks"].mend.startswith("GRANT ")
    await say(f"GRANT USAGE ON SCHEMA worker TO {role}")
    await say(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA worker TO {role}")
    await say(f"REVOKE DELETE ON worker.task FROM {role}")
    found = await find(database_url=SecretStr(url))
    lacks = found.pop("roles.lacks")
    assert lacks.mend == f'GRANT DELETE ON "worker".task TO "{role}"'
    await say(lacks.mend)
    found = await find(database_url=SecretStr(url))
    assert {*found} <= {"postgres.sessions-hidden"}
    await say(f"GRANT pg_read_all_stats TO {role}")
    assert await find(database_url=SecretStr(url)) == {}


def test_all_tables_of_ours_are_asked_about() -> None:
    assert {*OURS} == {one for made in migrations.TABLES.values() for one in made}
