"""When a job runs, and what is to be seen of it: the same under arq's worker and under ours."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import JobStatus
from arq.utils import timestamp_ms, to_unix_ms
from arq.worker import func

from tests.integration.arq.conftest import FAR, Build, Context, running

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


async def note(ctx: Context, what: Any = None) -> Any:
    seen.append(what)
    return what


class Gate:
    """A job function that says when it has begun, and ends when it is let."""

    def __init__(self) -> None:
        self.begun, self.opened = asyncio.Event(), asyncio.Event()
        self.inside = self.most = 0
        self.turns, self.changed = asyncio.Semaphore(0), asyncio.Condition()

    async def pass_through(self, ctx: Context) -> str:
        self.begun.set()
        await self.opened.wait()
        return "through"

    async def pass_one(self, ctx: Context) -> None:
        """The same, one at a time."""
        await self._change(+1)
        await self.turns.acquire()
        await self._change(-1)

    async def holds(self, number: int) -> None:
        async with self.changed, asyncio.timeout(5):
            await self.changed.wait_for(lambda: self.inside == number)

    async def _change(self, by: int) -> None:
        async with self.changed:
            self.inside += by
            self.most = max(self.most, self.inside)
            self.changed.notify_all()


async def test_the_status_at_every_stage(client: ArqRedis, build: Build) -> None:
    gate = Gate()
    job = await client.enqueue_job("gate", _job_id="one")
    later = await client.enqueue_job("gate", _job_id="two", _defer_by=FAR)
    assert job is not None
    assert later is not None
    assert await job.status() is JobStatus.queued
    assert await later.status() is JobStatus.deferred
    async with running(build(func(gate.pass_through, name="gate"))):
        await gate.begun.wait()
        assert await job.status() is JobStatus.in_progress
        assert await later.status() is JobStatus.deferred
        gate.opened.set()
        assert await job.result(timeout=5, poll_delay=0.01) == "through"
        assert await job.status() is JobStatus.complete
    await client.delete("arq:result:one")
    assert await job.status() is JobStatus.not_found


async def test_the_info_before_and_while_it_runs(client: ArqRedis, build: Build) -> None:
    gate = Gate()
    job = await client.enqueue_job("gate")
    assert job is not None
    waiting = await job.info()
    assert waiting is not None
    assert (waiting.function, waiting.args) == ("gate", ())
    assert waiting.score is not None
    async with running(build(func(gate.pass_through, name="gate"))):
        await gate.begun.wait()
        at_work = await job.info()
        assert at_work is not None
        assert (at_work.function, at_work.enqueue_time) == ("gate", waiting.enqueue_time)
        gate.opened.set()
        await job.result(timeout=5, poll_delay=0.01)


async def test_what_a_function_finds_in_its_ctx(client: ArqRedis, build: Build) -> None:
    async def look(ctx: Context) -> None:
        seen.append(dict(ctx))
        ctx["mine"] = "not the next one's"

    for job_id in ("one", "two"):
        await client.enqueue_job("look", _job_id=job_id)
    score = await client.zscore("arq:queue", "one")
    worker = build(func(look, name="look"), ctx={"given": 1}, max_jobs=1)
    await worker.run_check()
    first, second = seen
    assert {key: first[key] for key in ("given", "job_id", "job_try", "score")} == {
        "given": 1, "job_id": "one", "job_try": 1, "score": int(score or 0)
    }  # fmt: skip
    assert first["redis"] is worker.ctx["redis"]
    assert abs(datetime.now(UTC) - first["enqueue_time"]) < timedelta(seconds=30)
    assert "mine" not in second
    assert sorted(first) == [
        *["enqueue_time", "given", "job_id", "job_try", "redis", "score"]
    ]  # fmt: skip


async def test_due_jobs_run_in_the_order_of_their_time(client: ArqRedis, build: Build) -> None:
    now = datetime.now(UTC)
    for seconds in (3, 1, 2):
        at = now - timedelta(seconds=seconds)
        await client.enqueue_job("note", seconds, _defer_until=at)
    await build(note, max_jobs=1).run_check()
    assert seen == [3, 2, 1]


async def test_a_deferred_job_waits_until_it_is_due(client: ArqRedis, build: Build) -> None:
    due = timestamp_ms() + 80
    await client.enqueue_job("when", _defer_by=timedelta(milliseconds=80))

    async def when(ctx: Context) -> None:
        seen.append(timestamp_ms())

    await build(func(when, name="when")).run_check()
    assert seen[0] >= due - 1


async def test_a_job_that_is_due_at_a_time(client: ArqRedis, build: Build) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=FAR)
    job = await client.enqueue_job("note", _defer_until=soon)
    assert job is not None
    info = await job.info()
    assert info is not None
    assert info.score == to_unix_ms(soon)
    async with running(build(note)):
        await client.enqueue_job("note", "now", _job_id="now")
        await client_waits_for(client, "now")
    assert seen == ["now"]


async def client_waits_for(client: ArqRedis, job_id: str) -> None:
    async with asyncio.timeout(5):
        while not await client.exists(f"arq:result:{job_id}"):
            await asyncio.sleep(0.005)


async def test_an_id_is_taken_while_it_waits_runs_or_has_a_result(
    client: ArqRedis, build: Build
) -> None:
    gate = Gate()
    assert await client.enqueue_job("gate", _job_id="one") is not None
    assert await client.enqueue_job("gate", _job_id="one") is None
    async with running(build(func(gate.pass_through, name="gate", keep_result=60))):
        await gate.begun.wait()
        assert await client.enqueue_job("gate", _job_id="one") is None
        gate.opened.set()
        await client_waits_for(client, "one")
    assert await client.enqueue_job("gate", _job_id="one") is None
    await client.delete("arq:result:one")
    assert await client.enqueue_job("gate", _job_id="one") is not None


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_than_max_jobs_run_at_once(
    client: ArqRedis, build: Build, limit: int
) -> None:
    gate = Gate()
    for number in range(8):
        await client.enqueue_job("gate", _job_id=str(number))
    async with running(build(func(gate.pass_one, name="gate"), max_jobs=limit)):
        for left in range(8, 0, -1):
            await gate.holds(min(limit, left))
            gate.turns.release()
            async with asyncio.timeout(5):
                while await client.zcard("arq:queue") == left:
                    await asyncio.sleep(0.002)
    assert gate.most == limit


async def test_another_queue(client: ArqRedis, build: Build) -> None:
    job = await client.enqueue_job("note", "here", _queue_name="other")
    await client.enqueue_job("note", "elsewhere")
    assert job is not None
    await build(note, queue_name="other").run_check()
    assert seen == ["here"]
    info = await job.result_info()
    assert info is not None
    assert info.queue_name == "other"
    assert await client.zcard("arq:queue") == 1


async def test_a_job_enqueues_the_next_through_its_ctx(client: ArqRedis, build: Build) -> None:
    async def first(ctx: Context) -> None:
        await ctx["redis"].enqueue_job("note", "second")

    await client.enqueue_job("first")
    assert await build(func(first, name="first"), note).run_check() == 2
    assert seen == ["second"]


async def test_a_burst_runs_no_more_than_max_burst_jobs(client: ArqRedis, build: Build) -> None:
    for number in range(5):
        await client.enqueue_job("note", number)
    assert await build(note).run_check(max_burst_jobs=3) == 3
    assert len(seen) == 3
    assert await client.zcard("arq:queue") == 2
    assert len(await client.keys("arq:result:*")) == 3
    assert await build(note).run_check(max_burst_jobs=0) == 0
    assert await build(note).run_check() == 2


async def test_an_expired_job_fails_under_either(client: ArqRedis, build: Build) -> None:
    job = await client.enqueue_job("note", _expires=timedelta(milliseconds=1), _job_id="one")
    assert job is not None
    async with asyncio.timeout(5):
        while await client.exists("arq:job:one"):
            await asyncio.sleep(0.002)
    worker = build(note)
    await worker.async_run()
    assert worker.jobs_failed == 1
    info = await job.result_info()
    assert info is not None
    assert not info.success
    assert seen == []
