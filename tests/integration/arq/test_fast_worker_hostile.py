"""What ends or misleads arq's worker, and not ours: each is a defect of arq that we do not have."""

import asyncio
import logging
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.cron import cron
from arq.jobs import DeserializationError
from arq.utils import ms_to_datetime, timestamp_ms
from arq.worker import JobExecutionFailed, Retry, func

from tests.integration.arq.conftest import Context, Make, far_hour
from uow.fast import machine
from uow.fast.arq.jobs import ArqJob
from uow.fast.worker import FastWorker

ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ran.clear()


@pytest.fixture
def engine() -> type[FastWorker]:
    return FastWorker


async def note(ctx: Context, what: Any = None) -> Any:
    ran.append(what)
    return what


async def broken(ctx: Context) -> None:
    if ctx["job_id"] == "one":
        raise ValueError("broken hook")


@pytest.mark.parametrize("hook", ["on_job_start", "on_job_end"])
async def test_a_hook_that_raises_fails_its_job_and_nothing_else(
    client: ArqRedis, build: Make, hook: str
) -> None:
    for job_id in ("one", "two"):
        await client.enqueue_job("note", job_id, _job_id=job_id)
    worker = build(note, max_jobs=1, **{hook: broken})
    await worker.async_run()
    one, two = [await client.get(f"arq:result:{job_id}") for job_id in ("one", "two")]
    assert b"broken hook" in (one or b"")
    assert two is not None
    assert (worker.jobs_complete, worker.jobs_failed) == (1, 1)
    assert ran == (["two"] if hook == "on_job_start" else ["one", "two"])
    assert await client.keys("arq:in-progress:*") == []


class PanicException(BaseException):
    """As pyo3_runtime.PanicException, which Rust code raises."""


async def panic(ctx: Context) -> None:
    ran.append("panic")
    if len(ran) < 10:
        raise PanicException("called `Option::unwrap()` on a `None` value")


@pytest.mark.parametrize("where", ["function", "on_job_start", "on_job_end"])
async def test_a_panic_fails_its_job_once(client: ArqRedis, build: Make, where: str) -> None:
    job = await client.enqueue_job("work")
    assert job is not None
    hooks = {} if where == "function" else {where: panic}
    worker = build(func(panic if where == "function" else note, name="work"), **hooks)
    await worker.async_run()
    assert ran.count("panic") == 1
    assert (worker.jobs_complete, worker.jobs_failed) == (0, 1)
    assert b"PanicException" in (await client.get(f"arq:result:{job.job_id}") or b"")


async def test_an_error_of_our_own_does_not_repeat_a_job_for_ever(
    client: ArqRedis, build: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "AFTER_ERROR_MS", 1)

    def fail(job: ArqJob, error: BaseException) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(ArqJob, "_log_failure", fail)
    job = await client.enqueue_job("work")
    assert job is not None

    async def work(ctx: Context) -> None:
        ran.append("work")
        raise ValueError

    worker = build(func(work, name="work", max_tries=3))
    await worker.async_run()
    assert len(ran) == 3
    assert b"max 3 retries exceeded" in (await client.get(f"arq:result:{job.job_id}") or b"")


async def test_a_hook_that_raises_after_the_end_changes_nothing(
    client: ArqRedis, build: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """And is told by arq's logger, as the job's."""
    job = await client.enqueue_job("note", 1, _job_id="one")
    assert job is not None
    worker = build(note, after_job_end=broken)
    assert await worker.run_check() == 1
    assert await job.result() == 1
    [told] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (told.name, told.message) == ("arq.worker", "one:note: after_job_end failed")
    assert told.exc_info is not None


async def test_the_end_of_a_job_that_is_run_again_may_raise(client: ArqRedis, build: Make) -> None:
    async def again(ctx: Context) -> str:
        if ctx["job_try"] == 1:
            raise Retry
        return "done"

    async def once(ctx: Context) -> None:
        if ctx["job_try"] == 1:
            raise ValueError("broken hook")

    job = await client.enqueue_job("again")
    assert job is not None
    assert await build(func(again, name="again"), on_job_end=once).run_check() == 1
    assert await job.result() == "done"


@pytest.mark.parametrize("key", ["arq:job:one", "arq:retry:one", "arq:abort", "arq:result:one"])
async def test_a_key_of_a_wrong_type_kills_nothing(client: ArqRedis, build: Make, key: str) -> None:
    """Under arq the first three end the worker, each time it starts."""
    await client.enqueue_job("note", "one", _job_id="one")
    await client.enqueue_job("note", "two", _job_id="two")
    await client.delete(key)
    await client.hset(key, "x", "y")  # type: ignore[misc]
    worker = build(note, allow_abort_jobs=True)
    await worker.async_run()
    assert "two" in ran
    assert worker.jobs_complete + worker.jobs_failed == 2
    assert await client.zcard("arq:queue") == 0
    assert await client.get("arq:result:one") is not None


async def test_an_entry_that_is_no_text_is_taken_out_and_the_rest_runs(
    client: ArqRedis, build: Make, caplog: pytest.LogCaptureFixture
) -> None:
    await client.zadd("arq:queue", {b"\xff\xfe": 1})
    await client.enqueue_job("note", 1)
    assert await build(note).run_check() == 1
    assert ran == [1]
    assert await client.zcard("arq:queue") == 0
    assert await client.keys("arq:in-progress:*") == []
    assert r"the queue has an entry that is no job id: b'\xff\xfe'" in caplog.messages


async def test_an_entry_at_minus_infinity_is_a_job(client: ArqRedis, build: Make) -> None:
    await client.enqueue_job("note", 1, _job_id="one")
    await client.zadd("arq:queue", {"one": float("-inf")})
    assert await build(note).run_check() == 1
    assert ran == [1]


async def test_entries_that_are_never_run(client: ArqRedis, build: Make) -> None:
    """What is due at the end of time keeps no worker busy."""
    await client.zadd("arq:queue", {"never": float("inf"), "late": 1e300})
    await client.enqueue_job("note", 1, _job_id="one")
    assert await build(note, max_burst_jobs=1).run_check() == 1
    assert await client.zcard("arq:queue") == 2
    assert await client.keys("arq:in-progress:*") == []


async def test_a_job_at_score_0_is_run(client: ArqRedis, make: Make) -> None:
    """Stock arq takes 0 for no score at all, and looks at the front of the queue alone."""
    await client.enqueue_job("note", 1, _job_id="one")
    await client.zadd("arq:queue", {"one": 0})
    assert await make(FastWorker, note).run_check() == 1
    assert await client.zcard("arq:queue") == 0


SOUND: dict[str, Any] = {"t": None, "f": "note", "a": (), "k": {}, "et": 1}


@pytest.mark.parametrize(
    "wrong",
    [{"t": "x"}, {"t": [1]}, {"f": ["note"]}, {"a": None}, {"a": 7}, {"k": []}, {"et": "now"},
     {"et": 10**30}, {"et": None}, {"et": float("nan")}],
    ids=repr,
)  # fmt: skip
async def test_a_part_of_a_wrong_type_fails_its_job(
    client: ArqRedis, build: Make, wrong: dict[str, Any], wire: dict[str, Any]
) -> None:
    """Under arq the first three end the worker."""
    await client.set("arq:job:one", wire["job_serializer"]({**SOUND, **wrong}))
    await client.zadd("arq:queue", {"one": 1})
    await client.enqueue_job("note", "two")
    worker = build(note)
    await worker.async_run()
    assert ran == ["two"]
    assert (worker.jobs_complete, worker.jobs_failed) == (1, 1)
    [bad] = [found for found in await client.all_job_results() if not found.success]
    assert isinstance(bad.result, DeserializationError)


async def test_bytes_that_end_the_process_whenever_they_are_read_are_given_up(
    client: ArqRedis, build: Make, wire: dict[str, Any]
) -> None:
    """arq counts the tries after it has read a job: it would go on for ever."""

    def deserialize(payload: bytes) -> Any:
        assert payload != b"poison", "was read"
        return wire["job_deserializer"](payload)

    await client.set("arq:job:one", b"poison")
    await client.set("arq:retry:one", 6)  # the starts so far: one more than any function has
    await client.zadd("arq:queue", {"one": 1})
    await build(note, job_deserializer=deserialize).async_run()
    [result] = await client.all_job_results()
    assert result.result == JobExecutionFailed("max 5 retries exceeded")


class Unreadable(Exception):
    """Pickle writes it, and cannot read it back."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})")


async def test_an_exception_that_cannot_be_read_back_leaves_its_text(
    client: ArqRedis, build: Make
) -> None:
    """Under arq `result` raises something else, and `all_job_results` raises for everybody."""

    async def fail(ctx: Context) -> None:
        raise Unreadable(7, "out of paper")

    job = await client.enqueue_job("fail")
    assert job is not None
    await build(func(fail, name="fail")).async_run()
    with pytest.raises(JobExecutionFailed, match=r"Unreadable: out of paper \(7\)"):
        await job.result()
    assert len(await client.all_job_results()) == 1


async def test_an_abort_that_was_meant_for_an_earlier_job_does_not_hit_the_next(
    client: ArqRedis, build: Make
) -> None:
    await client.zadd("arq:abort", {"one": timestamp_ms() - 1000})
    job = await client.enqueue_job("note", 1, _job_id="one")
    assert job is not None
    assert await build(note, allow_abort_jobs=True).run_check() == 1
    assert await job.result() == 1
    assert await client.zcard("arq:abort") == 0


async def test_wishes_to_abort_are_forgotten_after_a_day(client: ArqRedis, build: Make) -> None:
    day = 24 * 3600 * 1000
    await client.zadd("arq:abort", {"old": timestamp_ms() - day - 1000, "new": timestamp_ms()})
    begun = asyncio.Event()

    async def until_forgotten(ctx: Context) -> None:
        begun.set()
        while await ctx["redis"].zscore("arq:abort", "old") is not None:
            await asyncio.sleep(0.005)

    await client.enqueue_job("until_forgotten")
    functions = func(until_forgotten, name="until_forgotten", timeout=5)
    assert await build(functions, allow_abort_jobs=True).run_check() == 1
    assert await client.zrange("arq:abort", 0, -1) == [b"new"]


async def test_who_is_late_does_not_run_a_tick_again(client: ArqRedis, build: Make) -> None:
    """Under arq a tick that is pushed after its end runs again when its lock is gone."""
    at_start = cron(note, name="cron", hour=far_hour(), run_at_startup=True)
    await build(cron_jobs=[at_start]).run_check()
    [done] = await client.keys("arq:in-progress:*")
    await client.delete(done)  # the minute is over
    tick = ms_to_datetime(int(done.decode().rpartition(":")[2]))
    late = build(cron_jobs=[cron(note, name="cron", hour=(tick.hour + 12) % 24)])
    [cron_job] = late.cron_jobs
    cron_job.next_run = tick
    late._pool = client
    await late.run_cron(tick, 0.1)
    late._pool = None
    assert await client.zcard("arq:queue") == 0
    assert cron_job.next_run > tick


async def test_jobs_that_are_run_again_at_once_do_not_get_stuck(
    client: ArqRedis, build: Make
) -> None:
    async def again(ctx: Context) -> None:
        if ctx["job_try"] < 5:
            raise Retry

    for _ in range(100):
        await client.enqueue_job("again")
    worker = build(func(again, name="again"), max_jobs=20)
    assert isinstance(worker, FastWorker)
    assert await worker.run_check() == 100
    assert worker.jobs_retried == 400
    assert len(worker.running) == 0
