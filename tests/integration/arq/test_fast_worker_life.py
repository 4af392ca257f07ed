"""Shutdown, many jobs, several queues: where our worker does better than arq's."""

import asyncio
import logging
import random
import signal
from collections import Counter
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import JobStatus

from tests.integration.arq.conftest import Context, Make, running, until
from tests.integration.arq.gate import Gate
from uow.broker.redis import RedisClient
from uow.broker.scripts import caller
from uow.errors import SettingsError
from uow.fast.claimer import Claimer
from uow.fast.worker import FastWorker

ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ran.clear()


async def note(ctx: Context, what: Any = None) -> Any:
    ran.append(what)
    return what


# -- shutdown --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
async def test_a_shutdown_hands_back_at_once_and_burns_no_try(
    client: ArqRedis, make: Make, number: signal.Signals
) -> None:
    """Under arq the sixth deploy fails the job: "max 5 retries exceeded"."""
    gate = Gate()
    job = await client.enqueue_job("enter", _job_id="one")
    assert job is not None
    score = await client.zscore("arq:queue", "one")
    for _ in range(6):
        gate.inside.clear()
        worker = make(FastWorker, gate.function, max_tries=1, burst=False)
        main = asyncio.ensure_future(worker.async_run())
        await gate.holds(1)
        worker.handle_sig(number)
        await worker.close()
        await asyncio.wait([main])
        assert await job.status() is JobStatus.queued
        assert await client.zscore("arq:queue", "one") == score
        assert not await client.exists("arq:retry:one", "arq:in-progress:one")
    gate.opened.set()
    assert await make(FastWorker, gate.function, max_tries=1).run_check() == 1
    assert gate.tries == [1] * 7


async def test_running_jobs_get_their_time_to_end(client: ArqRedis, make: Make) -> None:
    gate = Gate()
    job = await client.enqueue_job("enter")
    assert job is not None
    worker = make(FastWorker, gate.function, burst=False, job_completion_wait=5)
    main = asyncio.ensure_future(worker.async_run())
    await gate.holds(1)
    worker.handle_sig_wait_for_completion(signal.SIGTERM)
    await client.enqueue_job("enter", _job_id="late")
    gate.opened.set()
    await asyncio.wait([main])
    await worker.close()
    assert await job.result(timeout=10) == "through"
    assert await client.zcard("arq:queue") == 1, "nothing more is claimed"


async def test_what_was_claimed_but_not_begun_is_handed_back(client: ArqRedis, make: Make) -> None:
    for _ in range(50):
        await client.enqueue_job("note")
    begun = asyncio.Event()

    async def start(ctx: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    worker = make(FastWorker, note, burst=False, on_job_start=start, max_jobs=50)
    main = asyncio.ensure_future(worker.async_run())
    await begun.wait()
    await worker.close()
    await asyncio.wait([main])
    assert await client.zcard("arq:queue") == 50
    assert await client.keys("arq:in-progress:*") == []
    assert await client.keys("arq:retry:*") == []


# -- how many --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "slots"), [(3, 100), (14, 10)])
async def test_every_slot_of_every_worker_is_used(
    client: ArqRedis, make: Make, workers: int, slots: int
) -> None:
    """arq looks at the first hundred entries only, running ones included: 14 x 10 would run 100."""
    gate = Gate()
    for number in range(workers * slots):
        await client.enqueue_job("enter", _job_id=str(number))
    fleet = [make(FastWorker, gate.function, max_jobs=slots) for _ in range(workers)]
    async with running(*fleet):
        await gate.holds(workers * slots)
        assert all(len(worker.tasks) == slots for worker in fleet)
        gate.opened.set()

        async def is_empty() -> bool:
            return bool(await client.zcard("arq:queue") == 0)

        await until(is_empty)
    assert set(gate.inside.values()) == {1}


# -- several queues --------------------------------------------------------------------------------


async def test_queues_are_served_in_proportion_to_their_weights(
    client: ArqRedis, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"high": 6.0, "middle": 3.0, "low": 1.0}
    for name in weights:
        await client.zadd(name, {f"{name} {number}": 1 for number in range(400)})
    monkeypatch.setattr("uow.fast.claimer.random", random.Random(7))
    claimer = Claimer(caller(redis), weights, 60.0, "me", lambda claimed: None)
    served: Counter[str] = Counter()
    for _ in range(400):
        found = await claimer.claim(1)
        served.update(one.queue for one in found.jobs)
    assert served.total() == 400
    assert {name: round(served[name] / 400, 1) for name in weights} == {
        "high": 0.6, "middle": 0.3, "low": 0.1
    }  # fmt: skip


async def test_an_empty_queue_in_front_holds_up_nobody(client: ArqRedis, make: Make) -> None:
    for number in range(5):
        await client.enqueue_job("note", number, _queue_name="low")
    worker = make(FastWorker, note, queues={"high": 1e9, "low": 1.0})
    assert await worker.run_check() == 5
    results = await client.all_job_results()
    assert {found.queue_name for found in results} == {"low"}


async def test_a_queue_that_is_called_as_another_key_is_refused(make: Make) -> None:
    worker = make(FastWorker, note, queues={"arq:queue": 1, "worker:pulse:1": 1})
    with pytest.raises(SettingsError, match="'worker:pulse:1' is no name for a queue"):
        await worker.async_run()


async def test_a_job_is_retried_and_finished_in_its_own_queue(client: ArqRedis, make: Make) -> None:
    gate = Gate()
    for name in ("a", "b"):
        await client.enqueue_job("enter", _queue_name=name, _job_id=name)
    async with running(make(FastWorker, gate.function, queues={"a": 1, "b": 1})):
        await gate.holds(2)
    assert (await client.zcard("a"), await client.zcard("b")) == (1, 1)
