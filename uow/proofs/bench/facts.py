"""What figures must not be read without: the machine, the servers, and how far away they are."""

import contextlib
import os
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import text

from uow.proofs.bench.result import quantile_ms
from uow.proofs.bench.site import Site

TRIPS = 100
"""How often each round trip is made."""

_SETTINGS = text("""
    SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
           current_setting('synchronous_commit') AS synchronous_commit
""")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the command and the workers run.

    Attributes:
        load: Programs that wanted to run during the minute before, on average.
    """

    cores: int
    load: float
    system: str
    python: str
    uow_worker: str


@dataclass(frozen=True, slots=True)
class Servers:
    """What they are, and how long they take for the smallest thing, as seen from here.

    Attributes:
        postgres_commit_p50_ms: One statement that changes a row, with its commit.
        redis_saves: Whether Redis writes to a disk; None: it does not say.
    """

    embedded: bool
    postgres_version: str
    postgres_fsync: bool
    postgres_synchronous_commit: str
    postgres_round_trip_p50_ms: float
    postgres_commit_p50_ms: float
    redis_name: str
    redis_version: str
    redis_saves: bool | None
    redis_round_trip_p50_ms: float


def machine() -> Machine:
    """Look at this machine, before it gets anything to do."""
    return Machine(
        cores=_cores(),
        load=os.getloadavg()[0],
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        uow_worker=version("uow-worker"),
    )


async def servers(site: Site, *, embedded: bool) -> Servers:
    """Ask the servers."""
    db, redis = site.db, site.client.redis
    found = (await db.execute_once(_SETTINGS, {})).one()
    info = await _info(redis)
    account = text(f'UPDATE "{db.schema}".bench_account SET counter = counter WHERE id = 0')  # noqa: S608 - ours
    return Servers(
        embedded=embedded,
        postgres_version=found.version.split()[0],
        postgres_fsync=found.fsync == "on",
        postgres_synchronous_commit=found.synchronous_commit,
        postgres_round_trip_p50_ms=await _trip(db.ping),
        postgres_commit_p50_ms=await _trip(lambda: db.execute_once(account, {})),
        redis_name="Valkey" if "valkey_version" in info else "Redis",
        redis_version=info.get("valkey_version") or info.get("redis_version") or "?",
        redis_saves=_saves(info),
        redis_round_trip_p50_ms=await _trip(redis.ping),
    )


async def _trip(make: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(TRIPS):
        began = time.perf_counter_ns()
        await make()
        times.append(time.perf_counter_ns() - began)
    return quantile_ms(times, 0.5)


async def _info(redis: Any) -> dict[str, Any]:
    with contextlib.suppress(RedisError):  # often forbidden to clients
        return {**await redis.info("server"), **await redis.info("persistence")}
    return {}


def _saves(info: dict[str, Any]) -> bool | None:
    if not info:
        return None
    return bool(info.get("aof_enabled"))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # a container may have fewer than the machine
    return os.cpu_count() or 1
