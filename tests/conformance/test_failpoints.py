"""A process fails at every step of a task's way: the effect is there exactly once all the same."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from tests.conformance import tasks
from tests.conformance.conftest import wait_until
from tests.processes import ROOT, WorkerProcess, environment_of
from uow import Database, Settings, TaskClient, TaskState, cron
from uow.broker.redis import RedisClient
from uow.failpoints import POINTS
from uow.schedules.cron import schedules_of
from uow.schedules.registrar import Registrar

Effects = Callable[[], Awaitable[list[str]]]
StartWorker = Callable[..., WorkerProcess]

OF_PRODUCERS = ["enqueue_written", "enqueue_committed"]
OF_RELAYS = ["relay_claimed", "relay_pushed"]
OF_RESCUERS = ["rescued"]
OF_SCHEDULERS = ["ticked"]
OF_OTHERS = {*OF_PRODUCERS, *OF_RELAYS, *OF_RESCUERS, *OF_SCHEDULERS}
OF_ATTEMPTS = [p for p in POINTS if p not in OF_OTHERS]

PRODUCER = """
import asyncio
from tests.conformance.tasks import effect
from uow import TaskClient
async def main():
    async with TaskClient.from_settings() as client:
        async with client.db.get_session() as session:
            handle = await effect.enqueue(session, what="once")
            print(handle.id, flush=True)
asyncio.run(main())
"""


async def is_settled(client: TaskClient, redis: RedisClient) -> None:
    """Everything is settled, and Redis has forgotten it."""

    async def done() -> bool:
        left = await client.db.execute_once(tasks.LEFT, {})
        return not left.scalar_one() and not await redis.exists("arq:queue")

    await wait_until(done)


@pytest.mark.parametrize("action", ["kill", "raise", "stall"])
@pytest.mark.parametrize("point", [*OF_ATTEMPTS, *OF_RELAYS])
async def test_a_worker_that_fails_anywhere_leaves_the_effect_exactly_once(
    point: str,
    action: str,
    client: TaskClient,
    db: Database,
    redis: RedisClient,
    start_worker: StartWorker,
    effects: Effects,
) -> None:
    if point in OF_RELAYS:  # nobody announces it
        await db.execute_once(tasks.UNANNOUNCED, {"what": "once"})
    else:
        await client.enqueue(tasks.effect, what="once")
    failing = start_worker(FAILPOINT=f"{point}:{action}", FAILPOINT_STALL="3")
    dies = action == "kill" or (point in OF_RELAYS and action == "raise")
    if dies:  # a relay with an error of its own ends the process, loudly
        code = await asyncio.to_thread(failing.wait)
        assert code == (-signal.SIGKILL if action == "kill" else 1), failing.log
    else:
        await asyncio.to_thread(failing.wait_for_log, f"failpoint {point}")
    start_worker()
    await is_settled(client, redis)
    if action == "stall":
        await asyncio.to_thread(failing.wait_for_log, f"failpoint {point}: goes on")
    if not dies:
        # The one that failed is alive and has had its say.
        assert await asyncio.to_thread(failing.terminate) == 0, failing.log
    assert await effects() == ["once"]
    states = await db.execute_once(tasks.STATES, {})
    assert [tuple(row) for row in states] == [(TaskState.SUCCEEDED, 0)]


@pytest.mark.parametrize("point", OF_PRODUCERS)
async def test_a_producer_killed_after_the_commit_has_enqueued_and_before_it_has_not(
    point: str,
    settings: Settings,
    start_worker: StartWorker,
    client: TaskClient,
    redis: RedisClient,
    effects: Effects,
) -> None:
    producer = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", PRODUCER],
        env=environment_of(settings, FAILPOINT=f"{point}:kill"), cwd=ROOT,
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert producer.returncode == -signal.SIGKILL, producer.stderr
    assert await redis.keys("arq:*") == []  # not pushed in either case
    start_worker()
    if point == "enqueue_committed":

        async def applied() -> bool:
            return await effects() == ["once"]

        await wait_until(applied)
    await is_settled(client, redis)
    assert await effects() == (["once"] if point == "enqueue_committed" else [])


async def test_a_rescuer_killed_in_the_middle_is_followed_by_another(
    client: TaskClient, redis: RedisClient, start_worker: StartWorker, effects: Effects
) -> None:
    rescuer = start_worker(FAILPOINT="rescued:kill")
    await asyncio.to_thread(rescuer.wait_for_log, "leads the fleet")
    await client.enqueue(tasks.effect.options(queue="elsewhere"), what="once")
    killed = start_worker(FAILPOINT="started:kill", WORKER_QUEUE="elsewhere")
    assert await asyncio.to_thread(killed.wait) == -signal.SIGKILL
    assert await asyncio.to_thread(rescuer.wait) == -signal.SIGKILL
    assert await effects() == []
    start_worker(WORKER_QUEUE="elsewhere")
    await is_settled(client, redis)
    assert await effects() == ["once"]


def test_every_failpoint_is_tested_here() -> None:
    assert {*OF_OTHERS, *OF_ATTEMPTS} == set(POINTS)


@pytest.mark.parametrize("action", ["kill", "raise", "stall"])
async def test_a_leader_that_fails_at_a_tick_leaves_its_effect_exactly_once(
    action: str,
    settings: Settings,
    client: TaskClient,
    db: Database,
    redis: RedisClient,
    start_worker: StartWorker,
    effects: Effects,
) -> None:
    yearly = cron("0 0 1 1 *", arguments={"what": "once"})(replace(tasks.effect, schedules=[]))
    elsewhere = settings.model_copy(update={"app": "elsewhere"})  # the rows are enough
    await Registrar(db, schedules_of([yearly]), elsewhere).run_once()
    await db.execute_once(text("UPDATE schedule SET next_tick = now() - interval '1 s'"), {})
    failing = start_worker(FAILPOINT=f"ticked:{action}", FAILPOINT_STALL="3")
    if action == "stall":
        await asyncio.to_thread(failing.wait_for_log, "failpoint ticked")
    else:
        code = await asyncio.to_thread(failing.wait)
        assert code == (-signal.SIGKILL if action == "kill" else 1), failing.log
    start_worker()

    async def applied() -> bool:
        return bool(await effects())

    await wait_until(applied)
    await is_settled(client, redis)
    assert await effects() == ["once"]
    ticks = await db.execute_once(text("SELECT fate FROM schedule_tick"), {})
    assert ticks.scalars().all() == ["fired"]
