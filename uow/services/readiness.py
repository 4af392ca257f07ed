"""Whether the servers answer: waited for at the start of a process, asked by health checks.

A server that has answered once may be gone at the next question, so each question of a start is
asked again until it is answered, or its time is over.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

from sqlalchemy import Text, bindparam, make_url, text

from uow.broker.access import check_access
from uow.broker.redis import AWAY, RedisClient, address, connect, refuse_cluster
from uow.broker.refusals import is_refusal
from uow.db.database import Database
from uow.db.failures import PASSING, sqlstate
from uow.db.whereabouts import SETS, VERSION_TABLE, beside, not_there
from uow.errors import SchemaError, ServerUnreachable
from uow.services.presence import Presence
from uow.settings.environment import Settings
from uow.tasks.queue_owner import Owner, claim_or_refuse, identify
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE = 0.25
"""Seconds between two tries."""

LAST_TRY_SECONDS = 1.0

ANSWER_SECONDS = 0.8
"""Redis is asked for so long: less than whoever wants to know waits (`uow.process.health`)."""

SILENT_SECONDS = 1.0
"""Who waits for longer is told what for."""

NEWEST = (("task", "headers"), ("worker_identity", "id"), ("act_answer", "key"))
"""Columns that the newest migration has made: an older schema does not do."""

COLUMNS = text(
    "SELECT relname, attname FROM pg_catalog.pg_class AS relation "
    "JOIN pg_catalog.pg_attribute ON attrelid = relation.oid "
    "WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = :schema)"
).bindparams(bindparam("schema", type_=Text()))

_HOPELESS = ("28", "3D")
"""SQLSTATE classes that waiting does not mend: wrong password, no such database."""


async def wait_for_servers(settings: Settings, *, serves: Iterable[str] = ()) -> None:
    """Return when a process with these settings can do its work.

    Args:
        serves: The queues of a worker, which needs more rights in Redis than who only enqueues.

    Raises:
        ServerUnreachable: Postgres or Redis did not answer within `settings.connect_timeout`
            seconds, or refused the login.
        SchemaError: The migrations have not been run, or our role lacks a right.
        SettingsError: `WORKER_DATABASE_URL` is not set or leads to a pooling proxy that
            `WORKER_DATABASE_POOLER` does not speak of; or Redis is a cluster, or refuses what a
            worker needs; or a queue is another database's.
    """
    async with (
        Database.from_settings(settings.require_database()) as db,
        contextlib.aclosing(connect(settings.redis_url.get_secret_value())) as redis,
    ):
        await wait_for_tables(db, settings.connect_timeout)
        await wait_for_redis(redis, settings)
        if serves:
            await check_access(redis, serves)
            await claim_or_refuse(redis, serves, await wait_for_identity(db, settings))


async def refuse_unmigrated(db: Database) -> None:
    """Return when the database has our tables.

    Raises:
        SchemaError: It has not; with the command to run. Or they are in another schema, and nobody
            has said which is meant.
    """
    found = await db.execute_once(COLUMNS, {"schema": db.schema})
    there = {(row.relname, row.attname) for row in found}
    if not any(table == VERSION_TABLE for table, _ in there):
        sets = await db.execute_once(SETS, {})
        raise not_there(db.schema, sets.scalars(), given=db.schema_is_given)
    for table, column in NEWEST:
        if (table, column) not in there:
            raise SchemaError(
                f'schema "{db.schema}" has no column {table}.{column}: run `worker migrate` first'
            )


async def other_tables(db: Database) -> str:
    """A line about tables of ours in other schemas, if nobody has named this one; or nothing."""
    if not db.schema_is_given:
        with contextlib.suppress(*PASSING):
            return beside(db.schema, (await db.execute_once(SETS, {})).scalars())
    return ""


async def wait_for_tables(db: Database, timeout: float) -> None:
    """Return when Postgres answers and has our tables.

    Raises:
        SchemaError: It has not; with the command to run.
        ServerUnreachable: It did not answer within `timeout` seconds, or refused the login.
        SettingsError: There is a pooling proxy that the settings do not speak of.
    """
    await _wait_for_postgres(db, partial(refuse_unmigrated, db), timeout)


async def wait_for_postgres(db: Database, timeout: float) -> None:
    """Return when Postgres answers.

    Raises:
        ServerUnreachable: It did not within `timeout` seconds, or refused the login.
        SettingsError: There is a pooling proxy that the settings do not speak of.
    """
    await _wait_for_postgres(db, db.ping, timeout)


async def wait_for_identity(db: Database, settings: Settings) -> Owner:
    """Who we are, by our tables.

    Raises:
        SchemaError: Our role may not read them; with the grant.
        ServerUnreachable: Postgres did not answer in time.
    """
    return await _wait_for_postgres(
        db, partial(identify, db, settings.app), settings.connect_timeout
    )


async def _wait_for_postgres(
    db: Database, question: Callable[[], Awaitable[T]], timeout: float
) -> T:
    url = make_url(db.engine.url)
    where = f"{url.host or url.query.get('host')}:{url.port or 5432}/{url.database}"
    return await _wait_until(question, f"Postgres at {where}", "WORKER_DATABASE_URL", timeout)


async def wait_for_redis(redis: RedisClient, settings: Settings) -> None:
    """Return when Redis answers and is one that we can use.

    Raises:
        ServerUnreachable: It did not within `settings.connect_timeout` seconds, or refused the
            login.
        SettingsError: It is a cluster.
    """

    async def question() -> None:
        await redis.ping()
        await refuse_cluster(redis)

    where = address(settings.redis_url.get_secret_value())
    await _wait_until(question, f"Redis at {where}", "WORKER_REDIS_URL", settings.connect_timeout)


async def unready(presence: Presence, redis: RedisClient) -> str | None:
    """Why this worker process cannot do its work now; None: both servers answer, and it claims."""
    if (trouble := presence.trouble) is not None:
        return trouble
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await redis.ping()
    except TimeoutError:
        return f"Redis has not answered for {ANSWER_SECONDS:g} s"
    except AWAY as error:
        return f"Redis does not answer ({one_line(error)})"
    return None


async def _wait_until(
    question: Callable[[], Awaitable[T]], server: str, setting: str, timeout: float
) -> T:
    last: BaseException | None = None
    said = asyncio.get_running_loop().call_later(
        SILENT_SECONDS, logger.info, "waiting for %s, %g s at most", server, timeout
    )
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    return await question()
                except (*PASSING, *AWAY) as error:
                    last = error
                    if _is_hopeless(error):
                        break
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        # Had this process itself been stopped meanwhile, the time has passed without a question.
        with contextlib.suppress(*PASSING, *AWAY):
            async with asyncio.timeout(LAST_TRY_SECONDS):
                return await question()
    finally:
        said.cancel()
    reason = f" ({_reason(last)})" if last else ""
    if last is not None and _is_hopeless(last):
        raise ServerUnreachable(f"{server} refuses us{reason}: check {setting}")
    raise ServerUnreachable(
        f"{server} did not answer within {timeout:g} s{reason}: is it running, and is {setting} "
        "right?"
    )


def _is_hopeless(error: BaseException) -> bool:
    if isinstance(error.__context__ or error, ssl.SSLCertVerificationError):
        return True
    return is_refusal(error) or (sqlstate(error) or "").startswith(_HOPELESS)


def _reason(error: BaseException) -> str:
    said = str(getattr(error, "orig", error)) or type(error).__name__
    return said.splitlines()[0]
