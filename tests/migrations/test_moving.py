"""Where our tables are when nobody says so, and how they get there."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, inspect, select, text

from tests.conftest import Drain, task_worker
from tests.processes import run_command
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.broker.redis import RedisClient
from uow.db import migrations
from uow.db.migrations import liveness, steps
from uow.errors import SchemaError
from uow.fast.task_worker import TaskWorker
from uow.host import Process
from uow.services.readiness import refuse_unmigrated, wait_for_servers
from uow.services.relay import Listener
from uow.tasks.registry import Registry

BOTH_WAYS = (
    r'our tables are in schema "{0}", and the default is worker: set WORKER_DATABASE_SCHEMA={0} .*'
    r"move them with `worker migrate --move-from {0}`"
)

EVERYTHING = text(
    """
    SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = CAST(:schema AS regnamespace)
    UNION ALL
    SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = CAST(:schema AS regnamespace)
    UNION ALL
    SELECT 'type ' || typname FROM pg_type WHERE typnamespace = CAST(:schema AS regnamespace)
    ORDER BY 1
    """
)


async def everything_in(db: Database, schema: str) -> list[str]:
    return list((await db.execute_once(EVERYTHING, {"schema": schema})).scalars())


@pytest.fixture
async def unsaid(database_url: str) -> AsyncIterator[Database]:
    """A database where nobody says in which schema our tables are."""
    async with Database(database_url) as database:
        yield database


@pytest.fixture
async def before(unsaid: Database) -> AsyncIterator[Database]:
    """The same one, with our tables where the default has been."""
    await unsaid.execute_once(text("DROP SCHEMA public"), {})
    await unsaid.execute_once(text("ALTER SCHEMA worker RENAME TO public"), {})
    async with Database(unsaid.engine.url, schema="public") as database:
        yield database


async def test_our_tables_are_in_a_schema_of_their_own_and_in_nobodys_way(
    empty_database_url: str,
) -> None:
    async with Database(empty_database_url) as db:
        for name in ("task", "schedule", "users"):
            await db.execute_once(text(f"CREATE TABLE public.{name} (theirs text)"), {})
        theirs = await everything_in(db, "public")
        await migrations.upgrade(db)
        await refuse_unmigrated(db)
        assert db.schema == "worker"
        assert await everything_in(db, "public") == theirs


async def test_a_model_of_somebodys_is_not_taken_for_one_of_ours(before: Database) -> None:
    theirs = Table("orders", MetaData(schema="worker"), Column("id", Integer, primary_key=True))
    async with before.engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA worker"))
        await connection.run_sync(theirs.create)
        await connection.execute(insert(theirs).values(id=1))
        assert (await connection.execute(select(theirs.c.id))).scalar_one() == 1
    assert "relation orders" in await everything_in(before, "worker")


@pytest.mark.parametrize("schema", ["old", "jobs"])
async def test_tables_elsewhere_are_not_made_anew_unless_somebody_says_where(
    unsaid: Database, before: Database, schema: str
) -> None:
    await before.execute_once(text(f"ALTER SCHEMA public RENAME TO {schema}"), {})
    for work in (
        migrations.upgrade(unsaid),
        migrations.downgrade(unsaid, "base"),
        refuse_unmigrated(unsaid),
    ):
        with pytest.raises(SchemaError, match=BOTH_WAYS.format(schema)):
            await work
    schemas = await unsaid.execute_once(text("SELECT to_regnamespace('worker')"), {})
    assert schemas.scalar_one() is None
    async with Database(unsaid.engine.url, schema="worker") as said:
        with pytest.raises(SchemaError, match="run `worker migrate` first"):
            await refuse_unmigrated(said)
        await migrations.upgrade(said)
    await refuse_unmigrated(unsaid)  # they are where they are expected to be


async def test_worker_api_and_commands_refuse_tables_elsewhere(
    before: Database, settings: Settings, redis: RedisClient
) -> None:
    url = before.engine.url.render_as_string(hide_password=False)
    elsewhere = Settings(**{**settings.model_dump(exclude_unset=True), "database_url": url})
    with pytest.raises(SchemaError, match=BOTH_WAYS.format("public")):
        await wait_for_servers(elsewhere)
    process = Process(elsewhere, Registry())
    with pytest.raises(SchemaError, match=BOTH_WAYS.format("public")):
        await process.start({"redis": redis})
    await process.stop({"redis": redis})


async def test_each_command_says_both_ways_out_in_one_line_until_one_is_taken(
    before: Database, settings: Settings
) -> None:
    url = before.engine.url.render_as_string(hide_password=False)
    elsewhere = Settings(**{**settings.model_dump(exclude_unset=True), "database_url": url})
    for command in (["migrate"], ["run", "--burst"], ["api", "--port=0"], ["cron", "list"]):
        done = await run_command(elsewhere, *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(f"worker: {BOTH_WAYS.format('public')}\n", done.stderr), command
    done = await run_command(elsewhere, "migrate", WORKER_DATABASE_SCHEMA="public")
    assert done.stdout == 'schema "public" is at the newest revision\n', done.stderr
    done = await run_command(elsewhere, "migrate", "--move-from", "public", "--down", "base")
    assert done.stderr == "worker: --down, --move-from and --sql exclude each other\n"
    done = await run_command(elsewhere, "migrate", "--move-from", "public")
    assert done.stdout == 'schema "worker" is at the newest revision\n', done.stderr
    done = await run_command(elsewhere, "run", "--burst")
    assert done.returncode == 0, done.stderr


async def test_clients_and_sessions_refuse_tables_elsewhere(
    before: Database, unsaid: Database, settings: Settings, registry: Registry
) -> None:
    @task("elsewhere", registry=registry)
    async def elsewhere(ctx: TaskContext) -> None: ...

    both = BOTH_WAYS.format("public")
    async with TaskClient.from_settings(settings, db=unsaid) as client:
        with pytest.raises(SchemaError, match=both):
            await client.enqueue(elsewhere)
        async with unsaid.sessions() as session:
            with pytest.raises(SchemaError, match=both):
                await elsewhere.enqueue(session)
    async with unsaid.sessions() as session:
        with pytest.raises(SchemaError, match=both):
            await elsewhere.enqueue(session)
    assert (await before.execute_once(text("SELECT count(*) FROM public.task"), {})).scalar() == 0


async def test_a_worker_says_that_there_are_tables_of_ours_elsewhere_too(
    settings: Settings,
    db: Database,
    registry: Registry,
    drain: Drain,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @task("any", registry=registry)
    async def any_task(ctx: TaskContext) -> None: ...

    await db.execute_once(text("CREATE SCHEMA jobs"), {})
    await db.execute_once(text("CREATE TABLE jobs.worker_alembic_version (version_num text)"), {})
    await drain()
    assert caplog.text.count('schema "jobs" has tables of ours, too') == 1


async def test_what_is_ours_moves_and_what_is_not_stays(unsaid: Database, before: Database) -> None:
    ours = await everything_in(before, "public")
    for statement in (
        "CREATE TABLE orders (id bigserial PRIMARY KEY, task uuid REFERENCES task)",
        "CREATE DOMAIN task_kind AS text",
        """CREATE FUNCTION worker_audit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.orders (task) VALUES (NEW.id); RETURN NULL; END $$""",
        "CREATE TRIGGER audit AFTER INSERT ON task FOR EACH ROW EXECUTE FUNCTION worker_audit()",
        "CREATE VIEW unsettled AS SELECT id, name FROM task WHERE settled_at IS NULL",
        "ALTER TABLE task ADD COLUMN kind task_kind",
    ):
        await before.execute_once(text(statement), {})
    await before.execute_once(text("INSERT INTO task (name) VALUES ('waits')"), {})
    await migrations.move(unsaid, "public")
    await migrations.upgrade(unsaid)
    await refuse_unmigrated(unsaid)
    assert await everything_in(unsaid, "worker") == ours
    left = await everything_in(unsaid, "public")
    assert not {*left} & {*ours}
    assert {"function worker_audit", "relation orders", "relation unsettled"} <= {*left}
    assert "type task_kind" in left
    await unsaid.execute_once(text("INSERT INTO worker.task (name) VALUES ('new')"), {})
    seen = await unsaid.execute_once(text("SELECT name FROM public.unsettled ORDER BY name"), {})
    assert list(seen.scalars()) == ["new", "waits"]
    audited = await unsaid.execute_once(text("SELECT count(*) FROM public.orders"), {})
    assert audited.scalar_one() == 2


async def test_after_the_move_a_row_by_hand_wakes_the_relay(
    unsaid: Database, before: Database
) -> None:
    await migrations.move(unsaid, "public")
    heard: asyncio.Queue[None] = asyncio.Queue()
    listener = Listener(unsaid, lambda: heard.put_nowait(None))
    await listener.start()
    async with asyncio.timeout(10):
        await heard.get()  # it is connected
        await unsaid.execute_once(text("INSERT INTO worker.task (name) VALUES ('x')"), {})
        await heard.get()
    await listener.stop()


async def test_what_waited_before_the_move_runs_after_it(
    unsaid: Database, before: Database, settings: Settings, registry: Registry
) -> None:
    """The jobs in Redis know nothing of schemas."""

    @task("moved", registry=registry)
    async def moved(ctx: TaskContext) -> str:
        return "ran"

    async with TaskClient.from_settings(settings, db=before) as client:
        handle = await client.enqueue(moved)
    await migrations.move(unsaid, "public")
    url = unsaid.engine.url.render_as_string(hide_password=False)
    now = Settings(**{**settings.model_dump(exclude_unset=True), "database_url": url})
    _, worker = task_worker(TaskWorker, now, registry)
    await worker.async_run()
    await worker.close()
    async with TaskClient.from_settings(now, db=unsaid) as client:
        assert await client.handle(handle.id).result(5) == "ran"


async def test_nothing_is_moved_under_a_live_worker(unsaid: Database, before: Database) -> None:
    beat = text(
        "INSERT INTO public.worker_process (id, queue, running, heartbeat_at) "
        "VALUES ('host:1', 'arq:queue', '{}', now() - make_interval(secs => :ago)) "
        "ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at"
    )
    await before.execute_once(beat, {"ago": 30.0})
    there = await everything_in(before, "public")
    with pytest.raises(SchemaError, match=r"live worker; .* host:1 \(queue arq:queue, 30 s ago\)"):
        await migrations.move(unsaid, "public")
    assert await everything_in(before, "public") == there
    await before.execute_once(beat, {"ago": liveness.ALIVE_SECONDS + 1.0})
    await migrations.move(unsaid, "public")


async def test_who_could_use_the_tables_can_use_them_in_their_new_schema(
    unsaid: Database, before: Database
) -> None:
    await before.execute_once(text('CREATE ROLE "our app" LOGIN'), {})
    try:
        await before.execute_once(
            text('GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO "our app"'), {}
        )
        await migrations.move(unsaid, "public")
        async with Database(unsaid.engine.url.set(username="our app")) as app:
            await app.execute_once(text("INSERT INTO worker.task (name) VALUES ('x')"), {})
    finally:
        await before.execute_once(text('DROP OWNED BY "our app"'), {})
        await before.execute_once(text('DROP ROLE "our app"'), {})


async def test_moving_twice_or_by_two_at_once_is_moving_once(
    unsaid: Database, before: Database
) -> None:
    await asyncio.gather(*(migrations.move(unsaid, "public") for _ in range(3)))
    await migrations.move(unsaid, "public")
    await refuse_unmigrated(unsaid)


async def test_a_move_that_makes_no_sense_is_refused(unsaid: Database, before: Database) -> None:
    with pytest.raises(SchemaError, match='"public" is where our tables are to be'):
        await migrations.move(before, "public")
    with pytest.raises(SchemaError, match='schema "elsewhere" has no tables of ours'):
        await migrations.move(unsaid, "elsewhere")
    async with Database(unsaid.engine.url, schema="jobs") as jobs:
        await migrations.upgrade(jobs)
        with pytest.raises(SchemaError, match='"public" and "jobs" both have tables of ours'):
            await migrations.move(jobs, "public")
    await unsaid.execute_once(text("CREATE SCHEMA worker"), {})
    await unsaid.execute_once(text("CREATE TABLE worker.schedule (theirs text)"), {})
    with pytest.raises(SchemaError, match="already has a table schedule that is not ours"):
        await migrations.move(unsaid, "public")


@pytest.mark.parametrize("revision", ["tasks_001", "tasks_002", "tasks_006"])
async def test_tables_of_an_older_version_move_and_are_brought_to_the_newest(
    unsaid: Database, before: Database, revision: str
) -> None:
    await migrations.downgrade(before, revision)
    await before.execute_once(text("CREATE TABLE users (theirs text)"), {})
    if revision != "tasks_006":
        await before.execute_once(text("CREATE TABLE schedule (theirs text)"), {})
    await migrations.move(unsaid, "public")
    await migrations.upgrade(unsaid)
    await refuse_unmigrated(unsaid)
    async with unsaid.engine.connect() as connection:
        left = await connection.run_sync(lambda c: inspect(c).get_table_names("public"))
    theirs = {"users"} if revision == "tasks_006" else {"users", "schedule"}
    assert {*left} == theirs


async def test_a_move_that_gets_no_lock_names_who_holds_it(
    unsaid: Database, before: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(steps, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(steps, "TRIES", 2)
    async with before.engine.begin() as holder:
        await holder.execute(text("SELECT FROM public.task"))
        pid = await holder.scalar(text("SELECT pg_backend_pid()"))
        with pytest.raises(SchemaError, match=f"2 times for 0.05 s: process {pid} of "):
            await migrations.move(unsaid, "public")
