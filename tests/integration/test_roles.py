"""The roles of docs/database.md, made by the SQL that stands there, each at its work.

And what who lacks a right is told. Nothing here helps with a search_path.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.conftest import Drain
from tests.migrations.history import up_to
from tests.processes import ROOT, run_command
from uow import (
    Cancel,
    Database,
    Settings,
    TaskCancelled,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskFunction,
    cron,
    task,
)
from uow.broker.redis import RedisClient
from uow.db import migrations
from uow.db.migrations.application import AppMigrations
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.errors import SchemaError
from uow.host import Process
from uow.schedules.cron import schedules_of
from uow.schedules.registrar import Registrar
from uow.services.pruner import Pruner
from uow.services.readiness import refuse_unmigrated
from uow.tasks.registry import Registry

ONCE, AFTERWARDS, LATE, FOR_APPLICATION, ON_USERS = re.findall(
    "```sql\n(.*?)```", (ROOT / "docs/database.md").read_text(), re.DOTALL
)
ROLES = ("worker_owner", "worker_app", "worker_enqueue", "stranger")
ODD = '"odd :role"'


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


async def say(url: str, script: str) -> None:
    """Run a script as psql would."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(script)
    await connection.close()


async def grants_of(url: str, table: str) -> dict[str, set[str]]:
    """What others than its owner may do with a table of ours."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    found = await connection.fetch(
        """
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END AS grantee,
               privilege_type || CASE WHEN is_grantable THEN ' (and grants it)' ELSE '' END AS may
        FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = CAST('worker.' || $1 AS regclass) AND grantee <> relowner
        """,
        table,
    )
    await connection.close()
    return {who: {row["may"] for row in found if row["grantee"] == who} for who, _ in found}


@pytest.fixture(scope="module")
def documented(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database as the documentation has it, to be cloned; and a role without any right."""
    url = postgres.url_for("documented")

    async def make() -> None:
        await say(postgres.url, "CREATE DATABASE documented")
        await say(postgres.url, "CREATE ROLE stranger LOGIN")
        await say(url, ONCE)
        async with Database(as_role(url, "worker_owner")) as db:
            await migrations.upgrade(db)
        await say(as_role(url, "worker_owner"), AFTERWARDS)

    async def remove() -> None:
        await say(postgres.url, "DROP DATABASE documented")
        await say(postgres.url, f"DROP ROLE {', '.join(ROLES)}")

    asyncio.run(make())
    yield "documented"
    asyncio.run(remove())


@pytest.fixture
async def migrated(postgres: EmbeddedPostgres, documented: str) -> AsyncIterator[str]:
    """A database of the test's own, as the documentation has it."""
    async with _cloned(postgres, f"TEMPLATE {documented}") as url:
        yield url


@pytest.fixture
async def empty(postgres: EmbeddedPostgres, documented: str) -> AsyncIterator[str]:
    """One with nothing in it; but the roles are there."""
    async with _cloned(postgres, "") as url:
        yield url


@asynccontextmanager
async def _cloned(postgres: EmbeddedPostgres, how: str) -> AsyncIterator[str]:
    name = f"roles_{uuid4().hex[:12]}"
    await say(postgres.url, f"CREATE DATABASE {name} {how}")
    await say(postgres.url, f"ALTER DATABASE {name} SET search_path = public")
    yield postgres.url_for(name)
    await say(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(settings: Settings, migrated: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(as_role(migrated, "worker_app"))})


@pytest.fixture
def double(registry: Registry) -> TaskFunction[..., int]:
    @cron("0 0 * * *")
    @task("double", registry=registry)
    async def double(ctx: TaskContext, n: int = 1) -> int:
        async with ctx["db"].get_session() as session:
            return int(await session.scalar(text("SELECT :n * 2").bindparams(n=n)) or 0)

    return double


class TestTheOwner:
    async def test_it_migrates_again_and_again_and_back(self, migrated: str) -> None:
        async with Database(as_role(migrated, "worker_owner")) as db:
            await migrations.upgrade(db)
            await migrations.downgrade(db, "base")
            await migrations.upgrade(db)
            await refuse_unmigrated(db)
        async with Database(as_role(migrated, "worker_app")) as app:
            await migrations.upgrade(app)  # at a deploy in which there is nothing to do
            await app.execute_once(text("INSERT INTO worker.task (name) VALUES ('x')"), {})

    async def test_it_migrates_an_application_that_the_others_may_use(self, migrated: str) -> None:
        async with Database(as_role(migrated, "worker_owner")) as db:
            theirs = AppMigrations("worker.migrations")
            with pytest.raises(SchemaError) as refused:
                await theirs.upgrade(db)
            grant = "GRANT USAGE, CREATE ON SCHEMA public TO worker_owner"
            assert "(permission denied for schema public)" in str(refused.value)
            assert str(refused.value).endswith(f": {grant}")
            await say(migrated, FOR_APPLICATION)
            await theirs.upgrade(db)
        await say(as_role(migrated, "worker_owner"), ON_USERS)
        async with Database(as_role(migrated, "worker_app")) as app:
            for statement in (
                "INSERT INTO users (username, email) VALUES ('ann', 'ann@example.org')",
                "UPDATE users SET welcomed_at = now()",
                "DELETE FROM users",
            ):
                await app.execute_once(text(statement), {})

    async def test_it_moves_what_it_owns(self, migrated: str) -> None:
        await say(migrated, "ALTER SCHEMA worker RENAME TO old; "
                  "CREATE SCHEMA worker AUTHORIZATION worker_owner")  # fmt: skip
        async with Database(as_role(migrated, "worker_owner")) as db:
            await migrations.move(db, "old")
            await refuse_unmigrated(db)
        async with Database(as_role(migrated, "worker_app")) as app:
            await app.execute_once(text("INSERT INTO worker.task (name) VALUES ('x')"), {})

    async def test_for_tables_that_are_there_already_it_says_one_thing_more(
        self, migrated: str
    ) -> None:
        owner = as_role(migrated, "worker_owner")
        await say(owner, "REVOKE ALL ON ALL TABLES IN SCHEMA worker FROM worker_app")
        await say(owner, LATE)
        async with Database(as_role(migrated, "worker_app")) as app:
            await app.execute_once(text("DELETE FROM worker.task"), {})


class TestTheApp:
    async def test_it_enqueues_runs_fails_cancels_retries_schedules_and_prunes(
        self,
        client: TaskClient,
        settings: Settings,
        registry: Registry,
        double: TaskFunction[..., int],
        drain: Drain,
    ) -> None:
        @task("fails", max_tries=1, registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise ValueError("no")

        @task("gives_up", registry=registry)
        async def gives_up(ctx: TaskContext) -> None:
            raise Cancel("enough")

        async with client.db.get_session() as session:
            good = await double.enqueue(session, n=21)
        bad, over = await client.enqueue(fails), await client.enqueue(gives_up)
        waits = await client.enqueue(double.options(delay=3600))
        assert await waits.cancel()
        await drain()
        assert await good.result(5) == 42
        with pytest.raises(TaskFailed, match="ValueError: no"):
            await bad.result(5)
        with pytest.raises(TaskCancelled):
            await over.result(5)
        assert await bad.retry()
        await Registrar(client.db, schedules_of(registry), settings).run_once()
        await client.schedules.pause("double")
        await client.schedules.resume("double")
        gone = text("UPDATE worker.task SET expires_at = now() - interval '1 s' "
                    "WHERE settled_at IS NOT NULL")  # fmt: skip
        await client.db.execute_once(gone, {})
        await Pruner(client.db, client.redis, lambda _: None).run_once()
        left = await client.db.execute_once(text("SELECT name FROM worker.task"), {})
        assert list(left.scalars()) == ["fails"]


class TestTheAppAtATableThatIsNew:
    async def test_it_may_use_it_as_it_may_those_that_were_there(
        self, empty: str, redis_server: EmbeddedRedis, redis: RedisClient,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        await say(empty, f"CREATE ROLE {ODD}")
        async with Database(empty, schema="public") as db:
            with monkeypatch.context() as older:
                up_to(older, "tasks_010")
                await migrations.upgrade(db)
        await say(empty, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public "
                  "TO worker_app; GRANT SELECT ON worker_process TO worker_enqueue WITH "
                  f"GRANT OPTION; GRANT SELECT ON worker_process TO {ODD}, PUBLIC")  # fmt: skip
        owner = Settings(database_url=SecretStr(empty), redis_url=SecretStr(redis_server.url))
        moved = await run_command(owner, "migrate", "--move-from", "public")
        assert moved.returncode == 0, moved.stderr
        app = {"database_url": SecretStr(as_role(empty, "worker_app"))}
        done = await run_command(owner.model_copy(update=app), "run", "--burst")
        assert done.returncode == 0, done.stderr
        for table in ("worker_process", "worker_identity", "worker_app", "worker_code"):
            assert await grants_of(empty, table) == {
                "PUBLIC": {"SELECT"},
                ODD.strip('"'): {"SELECT"},
                "worker_app": {"SELECT", "INSERT", "UPDATE", "DELETE"},
                "worker_enqueue": {"SELECT (and grants it)"},
            }
        await say(empty, f"DROP OWNED BY {ODD}; DROP ROLE {ODD}")

    @pytest.mark.parametrize("engine", [[], ["--stock"]], ids=["fast", "stock"])
    async def test_without_the_right_it_is_told_the_grant_in_one_line(
        self, migrated: str, settings: Settings, redis: RedisClient, engine: list[str]
    ) -> None:
        await say(migrated, "REVOKE ALL ON worker.worker_identity FROM worker_app")
        done = await run_command(settings, "run", "--burst", *engine)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        grant = ('GRANT SELECT, INSERT, UPDATE, DELETE ON "worker".worker_identity, '
                 '"worker".worker_app TO "worker_app"')  # fmt: skip
        assert "(permission denied for table worker_identity)" in line
        assert grant in line
        process, ctx = Process(settings, Registry()), {"redis": redis}
        with pytest.raises(SchemaError, match="GRANT USAGE ON SCHEMA"):
            await process.start(ctx)
        await process.stop(ctx)
        await say(migrated, grant)
        done = await run_command(settings, "run", "--burst", *engine)
        assert done.returncode == 0, done.stderr


class TestWhoOnlyEnqueues:
    async def test_it_enqueues_and_hears_of_the_end(
        self,
        migrated: str,
        settings: Settings,
        registry: Registry,
        double: TaskFunction[..., int],
        drain: Drain,
    ) -> None:
        @task("fails", max_tries=1, registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise ValueError("no")

        async with (
            Database(as_role(migrated, "worker_enqueue")) as db,
            TaskClient.from_settings(settings, db=db) as client,
        ):
            good = await client.enqueue(double.options(unique_key="k"), n=21)
            assert not (await client.enqueue(double.options(unique_key="k"), n=21)).created
            async with db.get_session() as session:
                bad = await fails.enqueue(session)
            await client.flush()
            await drain()
            assert await good.result(5) == 42
            with pytest.raises(TaskFailed, match="ValueError: no"):
                await bad.result(5)
            view = await client.get(bad.id)
            assert view is not None
            assert [error.error_type for error in view.errors] == ["ValueError"]
            for forbidden in ("UPDATE worker.task SET name = 'x'", "DELETE FROM worker.task"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await db.execute_once(text(forbidden), {})


GRANTS = {
    "nothing": "SELECT",
    "the schema": "GRANT USAGE ON SCHEMA worker TO stranger",
    "only to read": "GRANT USAGE ON SCHEMA worker TO stranger;"
    "GRANT SELECT ON worker.task TO stranger",
}


@pytest.mark.parametrize("granted", GRANTS.values(), ids=GRANTS)
async def test_who_may_not_enqueue_is_told_the_grants(
    migrated: str, settings: Settings, double: TaskFunction[..., int], granted: str
) -> None:
    await say(migrated, granted)
    line = (
        r"refuses to let a task be enqueued \(permission denied for (schema worker|table task)\): "
        r'GRANT USAGE ON SCHEMA "worker" TO "stranger"; '
        r'GRANT SELECT, INSERT ON "worker"\.task TO "stranger"'
    )
    theirs = create_async_engine(as_role(migrated, "stranger"))
    async with Database(as_role(migrated, "stranger")) as db:
        async with TaskClient.from_settings(settings, db=db) as client:
            with pytest.raises(SchemaError, match=line) as caught:
                await client.enqueue(double)
            assert "\n" not in str(caught.value)
            async with db.sessions() as session:
                with pytest.raises(SchemaError, match=line):
                    await double.enqueue(session)
    async with theirs.connect() as connection:
        with pytest.raises(SchemaError, match=line):
            await double.enqueue(connection)
    await theirs.dispose()
    await say(migrated, line.partition("): ")[2].replace("\\", ""))
    async with Database(as_role(migrated, "stranger")) as db:
        async with TaskClient.from_settings(settings, db=db) as client:
            await client.enqueue(double)


async def test_a_role_that_a_session_has_set_may_lack_a_right_too(
    migrated: str, settings: Settings, client: TaskClient, double: TaskFunction[..., int]
) -> None:
    await say(migrated, "GRANT stranger TO worker_app")
    async with client.db.sessions() as session:
        await session.execute(text("SET LOCAL ROLE stranger"))
        with pytest.raises(SchemaError, match="or to the role that the session has SET"):
            await double.enqueue(session)
    await say(migrated, "REVOKE stranger FROM worker_app")


async def test_a_right_that_a_trigger_of_somebodys_lacks_is_named_too(
    migrated: str, client: TaskClient, double: TaskFunction[..., int]
) -> None:
    await say(migrated, """
        CREATE SCHEMA theirs; CREATE TABLE theirs.audit (id uuid);
        CREATE FUNCTION theirs.audit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO theirs.audit VALUES (NEW.id); RETURN NEW; END $$;
        CREATE TRIGGER audit BEFORE INSERT ON worker.task
        FOR EACH ROW EXECUTE FUNCTION theirs.audit()""")  # fmt: skip
    with pytest.raises(SchemaError, match="permission denied for schema theirs"):
        await client.enqueue(double)


class TestBeforeAnyMigration:
    async def test_enqueueing_is_told_the_command(
        self, empty: str, redis_server: EmbeddedRedis, registry: Registry
    ) -> None:
        @task("early", registry=registry)
        async def early(ctx: TaskContext) -> None: ...

        line = r'schema "worker" has no tables of ours: run `worker migrate` first$'
        settings = Settings(database_url=SecretStr(empty), redis_url=SecretStr(redis_server.url))
        theirs = create_async_engine(empty, pool_size=1, max_overflow=0)
        async with TaskClient.from_settings(settings) as client:
            with pytest.raises(SchemaError, match=line):
                await client.enqueue(early)
            with pytest.raises(SchemaError, match=line):
                await client.enqueue_many(early, [{}] * 3_000)
            with pytest.raises(SchemaError, match=line):
                await client.enqueue(early.options(unique_key="k"))
            async with client.db.sessions() as session:
                with pytest.raises(SchemaError, match=line):
                    await early.enqueue(session)
            async with theirs.connect() as connection:  # the only one that its pool has
                with pytest.raises(SchemaError, match=line):
                    await early.enqueue(connection)
        await theirs.dispose()

    async def test_a_table_that_a_trigger_of_somebodys_misses_is_another_matter(
        self, migrated: str, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        await say(migrated, """
            CREATE SCHEMA theirs; GRANT USAGE ON SCHEMA theirs TO PUBLIC;
            CREATE FUNCTION theirs.audit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO theirs.gone VALUES (NEW.id); RETURN NEW; END $$;
            CREATE TRIGGER audit BEFORE INSERT ON worker.task
            FOR EACH ROW EXECUTE FUNCTION theirs.audit()""")  # fmt: skip
        with pytest.raises(asyncpg.UndefinedTableError, match=r"theirs\.gone"):
            await client.enqueue(double)


class TestWhoMayNotMigrate:
    async def migrate(self, url: str, *arguments: str, role: str = "stranger") -> str:
        settings = Settings(database_url=SecretStr(as_role(url, role)))
        done = await run_command(settings, "migrate", *arguments)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        return line

    async def test_without_a_schema_the_grant_for_one_is_named(self, empty: str) -> None:
        name = make_url(empty).database
        assert (
            f"role stranger (permission denied for database {name}): CREATE SCHEMA worker "
            f"AUTHORIZATION stranger, or GRANT CREATE ON DATABASE {name} TO stranger"
        ) in await self.migrate(empty)

    async def test_without_a_right_in_the_schema_it_is_named(self, empty: str) -> None:
        await say(empty, "CREATE SCHEMA worker")
        assert (
            "(permission denied for schema worker): GRANT USAGE, CREATE ON SCHEMA worker TO "
            "stranger"
        ) in await self.migrate(empty)

    async def test_the_tables_owner_is_named(self, migrated: str) -> None:
        async with Database(as_role(migrated, "worker_owner")) as db:
            await migrations.downgrade(db, "tasks_006")
        line = await self.migrate(migrated, role="worker_app")
        assert (
            "the tables in worker belong to worker_owner: migrate as that role, or GRANT " in line
        )
        assert (
            "worker_owner to" in await self.migrate(migrated, "--down", "base") or "belong" in line
        )

    async def test_what_others_own_is_not_moved(self, migrated: str) -> None:
        await say(migrated, "ALTER SCHEMA worker RENAME TO old; "
                  "CREATE SCHEMA worker AUTHORIZATION worker_app")  # fmt: skip
        line = await self.migrate(migrated, "--move-from", "old", role="worker_app")
        assert "the tables in old belong to worker_owner: migrate as that role" in line
