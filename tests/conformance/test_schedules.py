"""Schedules every second in a fleet with wrong clocks, while its worst happens.

`CRON_SECONDS=600 CRON_WORKERS=8 pytest tests/conformance/test_schedules.py` is the run whose
figures are in the documentation.
"""

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.conformance.conftest import House, wait_until
from tests.conformance.cron_tasks import SCHEDULES
from tests.processes import WorkerProcess

SECONDS = float(os.environ.get("CRON_SECONDS", "12"))
WORKERS = int(os.environ.get("CRON_WORKERS", "3"))

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
SKEWS = ("-5s", "+0s", "+5s")

LEADER = text("SELECT holder FROM worker_leader WHERE until > now()")
OPEN = text("SELECT count(*) FROM task WHERE settled_at IS NULL")


async def start_fleet(house: House) -> list[WorkerProcess]:
    """Workers whose clocks are ten seconds apart."""
    if FAKETIME is None:
        pytest.skip("libfaketime is not installed (apt-get install libfaketime); CI has it")

    async def start(skew: str) -> WorkerProcess:
        return await house.start_fresh_worker(
            WORKER_TASK_MODULES="tests.conformance.cron_tasks",
            LD_PRELOAD=str(FAKETIME),
            FAKETIME=skew,
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )

    return list(await asyncio.gather(*(start(SKEWS[n % len(SKEWS)]) for n in range(WORKERS))))


async def leader_of(house: House, fleet: list[WorkerProcess]) -> WorkerProcess:
    """The process that leads the fleet."""
    found: list[WorkerProcess] = []

    async def known() -> bool:
        holder = (await house.db.execute_once(LEADER, {})).scalar_one_or_none() or ""
        found[:] = [one for one in fleet if f":{one.pid}:" in f"{holder}:"]
        return bool(found)

    await wait_until(known)
    return found[0]


Span = tuple[datetime, datetime]


async def suffer(house: House, fleet: list[WorkerProcess]) -> list[Span]:
    """One leader is killed, one worker stands still for a while, Redis loses everything.

    Returns:
        When, with ten seconds for the fleet to find together again.
    """
    pause, spans = SECONDS / 5, []
    leader = await leader_of(house, fleet)
    (stopped, *_) = [one for one in fleet if one is not leader]

    async def stand_still() -> None:
        stopped.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(min(pause, 90))
        stopped.process.send_signal(signal.SIGCONT)

    for fault in (leader.kill9, stand_still, lambda: house.redis.restart(lose_data=True)):
        await asyncio.sleep(pause)
        began = datetime.now(UTC)
        if (ended := fault()) is not None:
            await ended
        spans.append((began, datetime.now(UTC) + timedelta(seconds=10)))
    await asyncio.sleep(pause)
    return spans


@pytest.mark.timeout(SECONDS * 2 + 60)
async def test_each_tick_has_exactly_one_effect(house: House) -> None:
    await house.db.execute_once(
        text("CREATE TABLE tick_effect (n int, tick timestamptz, at timestamptz)"), {}
    )
    fleet = await start_fleet(house)
    spans = await suffer(house, fleet)
    await house.db.execute_once(text("UPDATE schedule SET paused_at = now()"), {})

    async def settled() -> bool:
        return not (await house.db.execute_once(OPEN, {})).scalar_one()

    await wait_until(settled, 30)
    for n in range(SCHEDULES):
        await check(house, n, spans)


async def check(house: House, n: int, spans: list[Span]) -> None:
    """From the first second after the deploy to the last tick: each once, and in time."""
    name = {"name": f"cron.note(n={n})", "n": n}
    schedule: Any = (
        await house.db.execute_once(
            text("SELECT created_at, last_tick FROM schedule WHERE name = :name"), name
        )
    ).one()
    found = await house.db.execute_once(
        text("SELECT tick, at - tick AS late FROM tick_effect WHERE n = CAST(:n AS int)"), name
    )
    rows = found.all()
    late = {row.tick: row.late for row in rows}
    first = schedule.created_at.replace(microsecond=0) + timedelta(seconds=1)  # the next full one
    count = (schedule.last_tick - first) // timedelta(seconds=1) + 1
    assert count > SECONDS * 0.8
    assert [first + timedelta(seconds=k) for k in range(count)] == sorted(late)
    assert len(rows) == count
    calm = [delay for tick, delay in late.items() if not any(a <= tick <= b for a, b in spans)]
    print(f"{count} ticks, each once; late in calm ({len(calm)} ticks) {said(calm)}; "
          f"at all times {said(list(late.values()))}")  # fmt: skip
    assert max(late.values()) < timedelta(seconds=10)


def said(delays: list[timedelta]) -> str:
    ordered = sorted(delay.total_seconds() for delay in delays) or [0.0]
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return ", ".join(
        f"{name} {ordered[min(int(len(ordered) * share), len(ordered) - 1)]:.3f} s"
        for name, share in shares.items()
    )
