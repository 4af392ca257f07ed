"""The hooks: the same order and the same ctx under arq's worker and under ours."""

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import Retry, func

from tests.integration.arq.conftest import Build, Context

events: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_happened() -> None:
    events.clear()


def hook(name: str) -> Any:
    async def happen(ctx: Context) -> None:
        events.append(f"{name} {ctx.get('job_id', '-')}")

    return happen


HOOKS = {
    name: hook(name)
    for name in ("on_startup", "on_shutdown", "on_job_start", "on_job_end", "after_job_end")
}


async def work(ctx: Context) -> str:
    events.append(f"work {ctx['job_id']}")
    return "done"


async def fail(ctx: Context) -> None:
    events.append(f"fail {ctx['job_id']}")
    raise ValueError("no")


async def test_hooks_run_in_their_order(client: ArqRedis, build: Build) -> None:
    await client.enqueue_job("work", _job_id="one")
    worker = build(work, **HOOKS)
    await worker.run_check()
    await worker.close()
    assert events == [
        "on_startup -", "on_job_start one", "work one", "on_job_end one", "after_job_end one",
        "on_shutdown -",
    ]  # fmt: skip


async def test_hooks_run_around_a_failure_too(client: ArqRedis, build: Build) -> None:
    await client.enqueue_job("fail", _job_id="one")
    await build(fail, **HOOKS).async_run()
    assert events == [
        "on_startup -", "on_job_start one", "fail one", "on_job_end one", "after_job_end one",
    ]  # fmt: skip


async def test_hooks_run_around_each_try(client: ArqRedis, build: Build) -> None:
    async def again(ctx: Context) -> None:
        if ctx["job_try"] == 1:
            raise Retry

    await client.enqueue_job("again", _job_id="one")
    await build(func(again, name="again"), **HOOKS).run_check()
    assert events[1:] == ["on_job_start one", "on_job_end one", "after_job_end one"] * 2


@pytest.mark.parametrize("kind", ["unknown", "garbage", "expired", "tries"])
async def test_no_hook_runs_for_a_job_that_is_refused(
    client: ArqRedis, build: Build, kind: str
) -> None:
    if kind == "unknown":
        await client.enqueue_job("missing")
    elif kind == "tries":
        await client.enqueue_job("work", _job_try=9)
    else:
        await client.zadd("arq:queue", {"one": 1})
        if kind == "garbage":
            await client.set("arq:job:one", b"garbage")
    worker = build(work, **HOOKS)
    await worker.async_run()
    assert worker.jobs_failed == 1
    assert events == ["on_startup -"]


async def test_what_the_hooks_find_in_their_ctx(client: ArqRedis, build: Build) -> None:
    async def start(ctx: Context) -> None:
        ctx["opened"] = "at the start"

    async def job_start(ctx: Context) -> None:
        ctx["of_this_job"] = ctx["job_id"]

    async def look(ctx: Context) -> None:
        events.append((ctx["opened"], ctx["of_this_job"], ctx["job_try"]))

    await client.enqueue_job("look", _job_id="one")
    await client.enqueue_job("look", _job_id="two")
    worker = build(
        func(look, name="look"), max_jobs=1,
        on_startup=start, on_job_start=job_start, on_job_end=look, after_job_end=look,
    )  # fmt: skip
    await worker.run_check()
    assert events == [("at the start", "one", 1)] * 3 + [("at the start", "two", 1)] * 3
    assert "of_this_job" not in worker.ctx


async def test_the_result_is_there_after_the_end_and_not_before(
    client: ArqRedis, build: Build
) -> None:
    def look(when: str) -> Any:
        async def see(ctx: Context) -> None:
            there = await ctx["redis"].exists(f"arq:result:{ctx['job_id']}")
            locked = await ctx["redis"].exists(f"arq:in-progress:{ctx['job_id']}")
            events.append((when, there, locked))

        return see

    await client.enqueue_job("work", _job_id="one")
    await build(work, on_job_end=look("end"), after_job_end=look("after")).run_check()
    assert events[1:] == [("end", 0, 1), ("after", 1, 0)]


async def test_a_burst_waits_for_the_last_hook(client: ArqRedis, build: Build) -> None:
    async def slowly(ctx: Context) -> None:
        for _ in range(5):
            await ctx["redis"].ping()
        events.append("hook ended")

    await client.enqueue_job("work", _job_id="one")
    await build(work, after_job_end=slowly).run_check()
    assert events == ["work one", "hook ended"]


async def test_the_hooks_of_a_worker_that_is_closed_at_once(client: ArqRedis, build: Build) -> None:
    """`close` hands back what runs: the job's own end is still told."""
    begun = asyncio.Event()

    async def linger(ctx: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    await client.enqueue_job("linger", _job_id="one")
    worker = build(func(linger, name="linger"), burst=False, **HOOKS)
    main = asyncio.ensure_future(worker.async_run())
    await begun.wait()
    await worker.close()
    await asyncio.wait([main])
    assert main.cancelled()
    assert events == [
        "on_startup -", "on_job_start one", "on_job_end one", "after_job_end one", "on_shutdown -",
    ]  # fmt: skip
    assert await client.zcard("arq:queue") == 1
    assert await client.keys("arq:in-progress:*") == []


async def test_a_startup_that_fails_ends_the_worker(client: ArqRedis, build: Build) -> None:
    async def start(ctx: Context) -> None:
        raise ValueError("no database")

    await client.enqueue_job("work")
    with pytest.raises(ValueError, match="no database"):
        await build(work, on_startup=start).async_run()
    assert events == []
    assert await client.exists("arq:queue:health-check") == 0
