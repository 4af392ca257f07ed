"""Processes die, stall or are stopped: their tasks run elsewhere, once; only the guilty fail."""

import asyncio
import contextlib
import time
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.conformance import tasks
from tests.conformance.conftest import (
    House,
    effects_of,
    pause,
    resume,
    wait_until,
    wait_until_running,
)
from tests.pgbouncer import pgbouncer
from uow import TaskHandle, TaskState
from uow.broker.redis import RedisClient, connect
from uow.db.fragments import QUARANTINE_DEATHS, SUSPECT_DEATHS
from uow.settings.parts import LEASE_SECONDS

DEATHS = text("SELECT deaths FROM task WHERE id = :id")
PROCESSES = text("SELECT count(*) FROM worker_process")


async def test_a_killed_workers_task_starts_again_before_its_lease_is_over(house: House) -> None:
    """The rescuer finds the death; nobody waits for stock arq's key, nor for the lease."""
    lease = 6.0
    other = await house.start_worker(WORKER_LEASE_SECONDS=str(lease), WORKER_QUEUE="none")
    await asyncio.to_thread(other.wait_for_log, "leads the fleet")
    killed = await house.start_worker(WORKER_LEASE_SECONDS=str(lease))
    handle = await house.client.enqueue(tasks.hold, what="once")
    await wait_until_running(house.client, handle.id)
    killed.kill9()
    began = time.monotonic()
    await wait_until(lambda: _has_deaths(house, handle.id, 1))
    redis = connect(house.redis.url)

    async def free() -> bool:
        return not await redis.exists(f"arq:in-progress:{handle.id}")

    await wait_until(free)
    await redis.aclose()
    assert time.monotonic() - began < lease
    await house.start_worker(WORKER_LEASE_SECONDS=str(lease))
    await handle.result(20)
    assert await effects_of(house.db) == ["once"]


async def _has_deaths(house: House, task_id: UUID, deaths: int) -> bool:
    found = await house.db.execute_once(DEATHS, {"id": task_id})
    return bool(found.scalar_one() == deaths)


async def test_killed_between_arqs_claim_and_our_start_a_job_is_not_locked_for_long(
    house: House,
) -> None:
    handle = await house.client.enqueue(tasks.effect, what="once")
    killed = await _start_and_die(house, FAILPOINT="claimed:kill")
    assert killed == -9
    await house.start_worker()
    assert await handle.result(10) == "once"
    assert await effects_of(house.db) == ["once"]


SUSPECT = text("INSERT INTO task (name, deaths) VALUES ('conform.linger', :deaths) RETURNING id")
ALONE = text("SELECT count(*) FROM task WHERE state = 'running' AND alone")


async def _start_suspect(house: House) -> UUID:
    """A suspect that is alone in its process until it is cancelled."""
    made = await house.db.execute_once(SUSPECT, {"deaths": SUSPECT_DEATHS})

    async def is_alone() -> bool:
        return bool((await house.db.execute_once(ALONE, {})).scalar_one())

    await wait_until(is_alone)
    return UUID(str(made.scalar_one()))


async def test_what_a_suspect_keeps_out_runs_in_another_process(house: House) -> None:
    await house.start_worker()
    await house.start_worker()
    await _start_suspect(house)
    handles = await house.client.enqueue_many(
        tasks.effect, [{"what": f"{n:02}"} for n in range(40)]
    )
    async with asyncio.timeout(20):
        for handle in handles:
            await handle.result(20)
    assert (await house.db.execute_once(ALONE, {})).scalar_one() == 1


async def test_what_a_suspect_keeps_out_runs_here_when_it_has_ended(house: House) -> None:
    await house.start_worker()
    suspect = await _start_suspect(house)
    handles = await house.client.enqueue_many(tasks.effect, [{"what": f"{n}"} for n in range(9)])
    redis = connect(house.redis.url)
    await wait_until(lambda: _is_queued(redis, [handle.id for handle in handles]))
    assert len(await redis.keys("arq:in-progress:*")) == 1
    await redis.aclose()
    await house.client.cancel(suspect)
    for handle in handles:
        await handle.result(10)
    assert await effects_of(house.db) == [f"{n}" for n in range(9)]


async def _is_queued(redis: RedisClient, ids: list[UUID]) -> bool:
    return None not in [await redis.zscore("arq:queue", str(id_)) for id_ in ids]


async def _start_and_wait_until_it_dies_or(house: House, task: TaskHandle[None]) -> None:
    process = house._start()
    while process.process.poll() is None and not (await task.status()).settled:
        await asyncio.sleep(0.1)


async def _start_and_die(house: House, **environment: str) -> int:
    process = house._start(**environment)
    return await asyncio.to_thread(process.wait)


@pytest.mark.timeout(180)  # a process has to die at least five times
async def test_a_task_that_kills_its_process_is_quarantined_and_its_neighbours_are_not(
    house: House,
) -> None:
    neighbours = [
        await house.client.enqueue(tasks.hold, what=f"{n}", seconds=0.5) for n in range(4)
    ]
    guilty = await house.client.enqueue(tasks.poison)
    while not (await guilty.status()).settled:  # as a supervisor does, until there is peace
        await _start_and_wait_until_it_dies_or(house, guilty)
    await house.start_worker()
    for handle in neighbours:
        await handle.result(30)
    view = await house.client.get(guilty.id)
    assert view is not None
    assert view.state is TaskState.FAILED
    assert {error.error_type for error in view.errors} == {"ProcessDied"}
    assert len(view.errors) >= QUARANTINE_DEATHS
    assert "quarantined" in view.errors[-1].message
    assert view.tries == 0
    assert await effects_of(house.db) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize("way", ["direct", "pooled"])
async def test_a_row_that_a_lost_process_has_locked_costs_the_next_attempt_no_try(
    house: House, how: str, way: str
) -> None:
    """Its only try: were it to wait for the lock, it would time out."""
    await house.db.execute_once(text("CREATE TABLE counter AS SELECT 0 AS n"), {})
    async with contextlib.AsyncExitStack() as stack:
        environment = {}
        if way == "pooled":
            url = stack.enter_context(pgbouncer(house.postgres.url))
            environment = {"WORKER_DATABASE_URL": url, "WORKER_DATABASE_POOLER": "true"}
        lost = await house.start_worker(**environment)
        work = tasks.count_and_wait if how == "stopped" else tasks.count
        handle = await house.client.enqueue(work)
        await wait_until_running(house.client, handle.id)
        pause(lost) if how == "stopped" else lost.kill9()
        await house.start_worker(**environment)
        await handle.result(20)
        view = await house.client.get(handle.id)
    assert view is not None
    assert (view.tries, [error.error_type for error in view.errors]) == (0, ["ProcessDied"])
    found = await house.db.execute_once(text("SELECT n FROM counter"), {})
    assert found.scalar_one() == 1


@pytest.mark.parametrize("how", ["stopped", "blocked"])
async def test_a_worker_that_stalls_and_comes_back_cannot_commit_what_another_has_settled(
    house: House, how: str
) -> None:
    stalled = await house.start_worker(WORKER_STALL_LIMIT="1")
    work = tasks.hold_until if how == "stopped" else tasks.block_the_loop_until
    handle = await house.client.enqueue(work, what="once", gate=str(house.gate))
    await wait_until_running(house.client, handle.id)
    if how == "stopped":
        pause(stalled)
    await house.start_worker()
    await handle.result(15)
    house.gate.touch()
    if how == "stopped":
        resume(stalled)
    await asyncio.to_thread(stalled.wait_for_log, "taken for dead meanwhile", 30)

    async def both_live() -> bool:
        return bool((await house.db.execute_once(PROCESSES, {})).scalar_one() == 2)

    await wait_until(both_live)
    assert await asyncio.to_thread(stalled.terminate) == 0, stalled.log
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.state, view.attempt, view.tries) == (TaskState.SUCCEEDED, 2, 0)
    assert await effects_of(house.db) == ["once"]


async def test_a_task_that_blocks_the_loop_for_longer_than_a_lease_keeps_it(house: House) -> None:
    blocked = await house.start_worker()
    await asyncio.to_thread(blocked.wait_for_log, "leads the fleet")
    handle = await house.client.enqueue(
        tasks.block_the_loop_until, what="once", gate=str(house.gate)
    )
    await wait_until_running(house.client, handle.id)
    other = await house.start_worker()
    await asyncio.to_thread(other.wait_for_log, "leads the fleet")
    house.gate.touch()
    await handle.result(20)
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.state, view.attempt) == (TaskState.SUCCEEDED, 1)
    assert await effects_of(house.db) == ["once"]
    line = await asyncio.to_thread(blocked.wait_for_log, "the event loop is blocked by")
    assert f"task {handle.id} in block_the_loop" in line
    await asyncio.to_thread(blocked.wait_for_log, "the event loop turns again")


async def test_a_worker_that_comes_back_is_acquitted_of_the_death(house: House) -> None:
    lease = {"WORKER_LEASE_SECONDS": "3"}  # so that on a slow machine it is not taken for dead anew
    watcher = await house.start_worker(WORKER_QUEUE="none", **lease)
    await asyncio.to_thread(watcher.wait_for_log, "leads the fleet")
    stopped = await house.start_worker(**lease)
    handle = await house.client.enqueue(tasks.hold, what="once")
    await wait_until_running(house.client, handle.id)
    pause(stopped)

    await wait_until(lambda: _has_deaths(house, handle.id, 1))
    resume(stopped)
    await wait_until(lambda: _has_deaths(house, handle.id, 0))


async def test_a_worker_that_stalls_before_its_commit_does_not_hold_its_row(
    house: House,
) -> None:
    handle = await house.client.enqueue(tasks.effect, what="once")
    stalled = house._start(
        FAILPOINT="performed:stall", FAILPOINT_STALL="600", WORKER_STALL_LIMIT="1"
    )
    await asyncio.to_thread(stalled.wait_for_log, "failpoint performed")
    began = time.monotonic()
    await house.start_worker()
    assert await handle.result(20) == "once"
    assert time.monotonic() - began < 12
    assert await effects_of(house.db) == ["once"]


async def test_a_killed_leader_is_followed_within_ten_seconds(house: House) -> None:
    first = await house.start_worker()
    await asyncio.to_thread(first.wait_for_log, "leads the fleet")
    second = await house.start_worker()
    first.kill9()
    began = time.monotonic()
    await asyncio.to_thread(second.wait_for_log, "leads the fleet")
    assert time.monotonic() - began < 10


async def test_a_leader_that_stops_hands_over_at_once(house: House) -> None:
    first = await house.start_worker()
    await asyncio.to_thread(first.wait_for_log, "leads the fleet")
    second = await house.start_worker()
    assert await asyncio.to_thread(first.terminate) == 0
    began = time.monotonic()
    await asyncio.to_thread(second.wait_for_log, "leads the fleet")
    assert time.monotonic() - began < 4


async def test_a_killed_workers_task_starts_again_within_5_s_by_default(house: House) -> None:
    lease = {"WORKER_LEASE_SECONDS": str(LEASE_SECONDS)}
    killed = await house.start_worker(**lease)
    await asyncio.to_thread(killed.wait_for_log, "leads the fleet")
    handle = await house.client.enqueue(tasks.hold, what="once")
    await wait_until_running(house.client, handle.id)
    other = await house.start_worker(**lease)
    killed.kill9()
    began = time.monotonic()
    await handle.result(40)
    assert time.monotonic() - began <= 5, other.log
