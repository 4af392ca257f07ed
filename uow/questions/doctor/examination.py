"""Runs all checks at once, each for its own: what fails or takes too long is unknown."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import make_url

from uow.broker.redis import AWAY, address, connect, refuse_cluster
from uow.db.bounded import ReadOnly
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.db.whereabouts import SETS
from uow.errors import SettingsError, WorkerError
from uow.questions.doctor import clocks, fleet, install, postgres, queue, redis, roles, schema
from uow.questions.doctor.finding import Finding, Severity, broken, unknown
from uow.questions.doctor.visit import CHECK_SECONDS, CHECKS, Check, CodeHere, Needs, Visit
from uow.settings.environment import Settings
from uow.telemetry.description import one_line

SUBJECTS = (schema, roles, postgres, redis, fleet, queue, clocks, install)

CONNECTIONS = 4

AWAY_POSTGRES = broken("postgres.away", "Nothing can be enqueued, and nothing runs.")
SETTINGS = broken("postgres.settings", "No process with these settings starts.")
AWAY_REDIS = broken("redis.away", "Tasks wait in Postgres until it is back.")
CLUSTER = broken("redis.cluster", "arq's scripts and transactions touch keys of several slots.")
UNLOOKED = unknown("doctor.unlooked", "What was not looked at may be anything.")

POSTGRES_AWAY: tuple[type[Exception], ...] = (*PASSING, WorkerError, TimeoutError)
REDIS_AWAY: tuple[type[Exception], ...] = (*AWAY, TimeoutError)

_WORST_FIRST = list(Severity)


async def examine(settings: Settings, code: CodeHere) -> tuple[list[Finding], int]:
    """Look at everything; it changes nothing, and takes seconds at most.

    Returns:
        What was found, the worst first, and how many checks there were.

    Raises:
        SettingsError: `WORKER_DATABASE_URL` is not set or malformed.
    """
    part = replace(settings.require_database(), pool_size=CONNECTIONS)
    url = settings.redis_url.get_secret_value()
    async with (
        Database.from_settings(part) as db,
        contextlib.aclosing(connect(url, timeout=CHECK_SECONDS)) as client,
    ):
        visit = Visit(settings, code, db, ReadOnly(db, CHECK_SECONDS), client)
        found, there = await _reach(visit)
        possible = [one for one in CHECKS if one.needs in there]
        found += _left_out([one for one in CHECKS if one.needs not in there])
        for each in await asyncio.gather(*(_looked(one, visit) for one in possible)):
            found += each
    found.sort(key=lambda one: _WORST_FIRST.index(one.severity))
    return found, len(CHECKS)


async def _reach(visit: Visit) -> tuple[list[Finding], Needs]:
    """What answers, and what is to be said of what does not."""
    of_postgres, of_redis = await asyncio.gather(_reach_postgres(visit), _reach_redis(visit))
    return of_postgres[0] + of_redis[0], of_postgres[1] | of_redis[1]


async def _reach_postgres(visit: Visit) -> tuple[list[Finding], Needs]:
    url = make_url(visit.database.engine.url)
    where = f"{url.host or url.query.get('host')}:{url.port or 5432}/{url.database}"
    try:
        async with asyncio.timeout(2 * CHECK_SECONDS):
            sets = await visit.database.execute_once(SETS, {}, limit=CHECK_SECONDS)
    except SettingsError as error:
        return [SETTINGS.found(one_line(error), "see the proof")], Needs.NOTHING
    except POSTGRES_AWAY as error:
        mend = "start it, or correct WORKER_DATABASE_URL"
        return [AWAY_POSTGRES.found(f"Postgres at {where}: {one_line(error)}", mend)], Needs.NOTHING
    tables = Needs.TABLES if visit.db.schema in {*sets.scalars()} else Needs.NOTHING
    return [], Needs.POSTGRES | tables


async def _reach_redis(visit: Visit) -> tuple[list[Finding], Needs]:
    try:
        async with asyncio.timeout(2 * CHECK_SECONDS):
            await visit.redis.ping()
            await refuse_cluster(visit.redis)
    except SettingsError as error:
        return [CLUSTER.found(one_line(error), "see the proof")], Needs.NOTHING
    except REDIS_AWAY as error:
        where = address(visit.settings.redis_url.get_secret_value())
        mend = "start it, or correct WORKER_REDIS_URL"
        return [AWAY_REDIS.found(f"Redis at {where}: {one_line(error)}", mend)], Needs.NOTHING
    return [], Needs.REDIS


async def _looked(one: Check, visit: Visit) -> list[Finding]:
    try:
        async with asyncio.timeout(2 * CHECK_SECONDS):
            return await one.look(visit)
    except Exception as error:
        mend = f"see the proof; docs/doctor.md says what {one.name} needs"
        return [UNLOOKED.found(f"{one.name}: {one_line(error)}", mend)]


def _left_out(checks: Sequence[Check]) -> list[Finding]:
    if not checks:
        return []
    names = ", ".join(one.name for one in checks)
    return [UNLOOKED.found(f"not looked at: {names}", "mend the above, and ask again")]
