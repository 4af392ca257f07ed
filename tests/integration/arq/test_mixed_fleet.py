"""Stock workers and ours on one queue: each job is run by one of them, whatever the other does.

Where it matters the other side is arq's own code: its claim, its retry, its finish, its abort.
"""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import JobStatus
from arq.utils import timestamp_ms
from arq.worker import Retry, Worker, func

from tests.integration.arq.conftest import FAR, Context, Make, running, until
from tests.integration.arq.gate import Gate
from uow.fast.worker import FastWorker

IN_PROGRESS = "arq:in-progress:"
QUEUE = "arq:queue"
LEASE_MS = 600.0


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def score_of(client: ArqRedis, job_id: str) -> float:
    score: float | None = await client.zscore(QUEUE, job_id)
    assert score is not None
    return score


async def ended(client: ArqRedis, *job_ids: str) -> None:
    async def are_there() -> bool:
        found: int = await client.exists(*[f"arq:result:{one}" for one in job_ids])
        return found == len(job_ids)

    await until(are_there)


async def poll_once(worker: Worker, client: ArqRedis) -> None:
    """One round of stock arq's own loop, to its end."""
    worker._pool = client
    await worker._poll_iteration()
    if worker.tasks:
        await asyncio.wait(worker.tasks.values())
    worker._pool = None


# -- who holds a job -------------------------------------------------------------------------------


async def test_stock_does_not_start_what_we_hold(client: ArqRedis, make: Make) -> None:
    gate = Gate()
    await client.enqueue_job("enter", _job_id="one")
    stock = make(Worker, gate.function)
    async with running(make(FastWorker, gate.function)):
        await gate.holds(1)
        assert await score_of(client, "one") > timestamp_ms(), "it stands at its lease's end"
        await poll_once(stock, client)
        await client.zadd(QUEUE, {"one": 1})  # even where somebody has moved it to the front
        await poll_once(stock, client)
        gate.opened.set()
        await ended(client, "one")
    assert gate.tries == [1]


async def test_we_neither_start_nor_move_what_a_stock_worker_holds(
    client: ArqRedis, make: Make
) -> None:
    gate, ours = Gate(), Gate()
    ours.opened.set()
    await client.enqueue_job("enter", _job_id="one")
    before = await score_of(client, "one")
    async with running(make(Worker, gate.function, max_jobs=1)):
        await gate.holds(1)
        async with running(make(FastWorker, ours.function)):
            await client.enqueue_job("enter", _job_id="two")
            await ended(client, "two")
            assert await score_of(client, "one") == before
            assert await client.get(IN_PROGRESS + "one") == b"1"
            gate.opened.set()
            await ended(client, "one")
    assert (gate.tries, set(ours.inside)) == ([1], {"two"})


async def test_the_claim_scans_past_what_others_hold(client: ArqRedis, make: Make) -> None:
    gate = Gate()
    gate.opened.set()
    held = {f"held {number}": number for number in range(1, 901)}
    await client.zadd(QUEUE, held)
    await client.mset({IN_PROGRESS + name: b"1" for name in held})
    for name in ("one", "two", "three"):
        await client.enqueue_job("enter", _job_id=name)
    async with running(make(FastWorker, gate.function, max_jobs=2)):
        await ended(client, "one", "two", "three")
    assert await client.zcount(QUEUE, 1, 900) == 900, "they are where they were"


async def test_what_others_hold_in_front_hides_nothing_however_many_they_are(
    client: ArqRedis, make: Make
) -> None:
    """Stock arq gives up after a hundred."""
    gate = Gate()
    held = {f"held {number}": number for number in range(1, 1051)}
    await client.zadd(QUEUE, held)
    await client.mset({IN_PROGRESS + name: b"1" for name in held})
    await client.enqueue_job("enter", _job_id="one")
    gate.opened.set()
    async with running(make(FastWorker, gate.function)):
        await ended(client, "one")
    assert await client.zcard(QUEUE) == 1050, "they are where they were"


async def test_a_job_that_a_stock_worker_retries_is_started_once(
    client: ArqRedis, make: Make
) -> None:
    """Stock `Retry` adds the delay to whatever score it finds."""
    tries: list[tuple[str, int]] = []

    def again(kind: str) -> Any:
        async def work(ctx: Context) -> None:
            tries.append((kind, ctx["job_try"]))
            if ctx["job_try"] == 1:
                raise Retry(defer=0.05)

        return func(work, name="work")

    await client.enqueue_job("work", _job_id="one")
    await poll_once(make(Worker, again("stock")), client)
    assert await client.exists(IN_PROGRESS + "one") == 0
    async with running(make(FastWorker, again("fast"))):
        await ended(client, "one")
    assert tries == [("stock", 1), ("fast", 2)]


async def test_a_job_that_we_retry_is_started_once_by_a_stock_worker(
    client: ArqRedis, make: Make
) -> None:
    tries: list[tuple[str, int]] = []

    def again(kind: str) -> Any:
        async def work(ctx: Context) -> None:

            tries.append((kind, ctx["job_try"]))
            if ctx["job_try"] == 1:
                raise Retry(defer=0.3)

        return func(work, name="work")

    job = await client.enqueue_job("work", _job_id="one")
    assert job is not None
    async with running(make(FastWorker, again("fast"))):

        async def is_deferred() -> bool:
            return await job.status() is JobStatus.deferred and len(tries) == 1

        await until(is_deferred)
    async with running(make(Worker, again("stock"))):
        await ended(client, "one")
    assert tries == [("fast", 1), ("stock", 2)]


# -- what stock clients and zombies do to a job that we hold ---------------------------------------


async def test_a_stock_client_aborts_what_we_run(client: ArqRedis, make: Make) -> None:
    """`Job.abort` puts it in front of the queue; no other worker starts it there."""
    gate = Gate()
    job = await client.enqueue_job("enter", _job_id="one")
    assert job is not None
    workers = [
        make(kind, gate.function, allow_abort_jobs=True)
        for kind in (FastWorker, FastWorker, Worker)
    ]
    async with running(workers[0]):
        await gate.holds(1)
        async with running(*workers[1:]):
            assert await job.abort(timeout=5, poll_delay=0.01)
    assert gate.tries == [1]
    assert await client.zcard(QUEUE) == 0


@pytest.mark.parametrize("score", [1.0, FAR * 1e6], ids=["front", "back"])
async def test_the_heartbeat_restores_the_place_of_what_runs(
    client: ArqRedis, make: Make, score: float
) -> None:
    gate = Gate()
    await client.enqueue_job("enter", _job_id="one")
    async with running(make(FastWorker, gate.function, lease_seconds=LEASE_MS / 1000)):
        await gate.holds(1)
        await client.zadd(QUEUE, {"one": score})

        async def is_restored() -> bool:
            ends_in = await score_of(client, "one") - timestamp_ms()
            return 0 < ends_in <= LEASE_MS

        await until(is_restored)
        gate.opened.set()
        await ended(client, "one")
    assert gate.tries == [1]


async def test_a_lease_that_a_stock_zombie_has_deleted_is_taken_again(
    client: ArqRedis, make: Make
) -> None:
    """Its finish deletes entry, payload and lease without looking whose they are."""
    gate = Gate()
    await client.enqueue_job("enter", _job_id="one")
    payload = await client.get("arq:job:one")
    zombie = make(Worker, gate.function)
    worker = make(FastWorker, gate.function, lease_seconds=LEASE_MS / 1000)
    async with running(worker):
        await gate.holds(1)
        token = await client.get(IN_PROGRESS + "one")
        zombie._pool = client
        await zombie.finish_job("one", True, None, None, False, None, None)
        zombie._pool = None

        async def is_back() -> bool:
            return bool(await client.get(IN_PROGRESS + "one") == token)

        await until(is_back)
        assert await score_of(client, "one") > timestamp_ms()
        assert await client.get("arq:job:one") == payload
        gate.opened.set()
        await ended(client, "one")
    assert gate.tries == [1]


async def test_an_attempt_whose_lease_is_anothers_is_cancelled_and_leaves_nothing(
    client: ArqRedis, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    await client.enqueue_job("enter", _job_id="one")
    worker = make(FastWorker, gate.function, lease_seconds=LEASE_MS / 1000)
    async with running(worker):
        await gate.holds(1)
        await client.set(IN_PROGRESS + "one", b"1")  # as a stock worker does
        before = await score_of(client, "one")

        async def is_given_up() -> bool:
            return not worker.tasks and len(worker.running) == 0  # type: ignore[attr-defined]

        await until(is_given_up)
        assert await client.get(IN_PROGRESS + "one") == b"1"
        assert await client.exists("arq:job:one") == 1
        assert await client.exists("arq:result:one") == 0
        assert await score_of(client, "one") == before
    assert "job one: its lease was lost to another worker" in caplog.messages
    assert "job one was taken over before it was finished here" in caplog.messages


async def test_what_ends_just_after_its_lease_was_lost_leaves_nothing(
    client: ArqRedis, make: Make
) -> None:
    """Before a heartbeat could have told: the finish looks itself."""
    gate = Gate()
    await client.enqueue_job("enter", _job_id="one")
    worker = make(FastWorker, gate.function, lease_seconds=60)
    async with running(worker):
        await gate.holds(1)
        await client.set(IN_PROGRESS + "one", b"1")
        gate.opened.set()

        async def is_over() -> bool:
            return len(worker.running) == 0  # type: ignore[attr-defined]

        await until(is_over)
    assert await client.exists("arq:job:one", IN_PROGRESS + "one") == 2
    assert await client.exists("arq:result:one") == 0
    assert await client.zcard(QUEUE) == 1


# -- the dead, and all together --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Worker, FastWorker], ids=["stock", "fast"])
async def test_a_dead_workers_jobs_come_back_at_the_end_of_the_lease(
    client: ArqRedis, make: Make, kind: type[Worker]
) -> None:
    gate, next_gate = Gate(), Gate()
    await client.enqueue_job("enter", _job_id="one")
    next_gate.opened.set()
    dead = make(FastWorker, gate.function, lease_seconds=LEASE_MS / 1000)
    async with running(dead):
        await gate.holds(1)
        dead.claims.claiming = False  # type: ignore[attr-defined]
        dead.machine.leases.paused = lambda: True  # type: ignore[attr-defined]
        ends = await score_of(client, "one")
        async with running(make(kind, next_gate.function)):
            await ended(client, "one")
            assert timestamp_ms() >= ends - 5
    assert next_gate.tries == [2]


async def test_a_mixed_fleet_runs_each_job_once(client: ArqRedis, make: Make) -> None:
    runs: Counter[int] = Counter()
    by: Counter[str] = Counter()

    def work(kind: str) -> Any:
        async def count(ctx: Context, number: int) -> int:
            runs[number] += 1
            by[kind] += 1
            await asyncio.sleep(0)
            return number

        return func(count, name="count", keep_result=0)

    stock = [make(Worker, work("stock"), max_jobs=20) for _ in range(2)]
    fast = [make(FastWorker, work("fast"), max_jobs=20) for _ in range(2)]

    async def has_begun() -> bool:
        return bool(by)

    async def is_empty() -> bool:
        return bool(await client.zcard(QUEUE) == 0)

    for number in range(1000):
        await client.enqueue_job("count", number)
    async with running(*stock):
        await until(has_begun, 40)
        async with running(*fast):
            for number in range(1000, 2000):
                await client.enqueue_job("count", number)
            await until(is_empty, 40)
    assert len(runs) == 2000
    assert set(runs.values()) == {1}
    assert by.total() == 2000
    assert min(by["stock"], by["fast"]) > 0, "each has run some"
    assert await client.keys("arq:[jir]*") == []
