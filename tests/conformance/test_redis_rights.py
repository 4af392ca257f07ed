"""A Redis user with few rights: what a worker needs is said at its start, the rest it can miss."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from arq import cron

from tests.conformance import tasks
from tests.conformance.conftest import House, effects_of, wait_until, wait_until_running
from tests.redis_commands import command
from uow.broker import codec
from uow.broker.access import check_access
from uow.broker.redis import arq_settings, connect
from uow.embedded import EmbeddedRedis
from uow.errors import SettingsError
from uow.fast.worker import FastWorker

DOCUMENTED = re.search(
    r"ACL SETUSER \S+ on >\S+ ([^\n]+)",
    (Path(__file__).parents[2] / "docs/operations.md").read_text(),
)


async def act(ctx: dict[Any, Any]) -> None: ...


Setting = Callable[..., Awaitable[str]]


@pytest.fixture
def limited(house: House) -> Setting:
    """Make a user with the rights that are said; returns the URL with which it logs in."""

    async def make(*rights: str) -> str:
        async with connect(house.redis.url) as admin:
            await command(admin, "ACL", "SETUSER", "limited", "reset", "on", ">pw", *rights)
        return house.redis.url.replace("redis://", "redis://limited:pw@")

    return make


async def run_a_batch(house: House) -> None:
    for number in range(5):
        await house.client.enqueue(tasks.effect, what=str(number))

    async def applied() -> bool:
        return len(await effects_of(house.db)) == 5

    await wait_until(applied)


async def test_a_user_without_channels_runs_everything(house: House, limited: Setting) -> None:
    """The default of a new user since Redis 7."""
    url = await limited("~*", "+@all", "resetchannels")
    workers = [await house.start_worker(WORKER_REDIS_URL=url) for _ in range(2)]
    await run_a_batch(house)
    async with connect(house.redis.url) as admin:

        async def finished() -> bool:
            return not await admin.zcard("arq:queue") and not await admin.keys("arq:job:*")

        await wait_until(finished)
    handle = await house.client.enqueue(tasks.hold, what="held", seconds=60)
    await wait_until_running(house.client, handle.id)
    await handle.cancel()
    for worker in workers:
        assert worker.process.poll() is None
        assert worker.log.count("ACL SETUSER limited &worker:*") == 1
        assert worker.log.count("uow.broker.hints") == 1
        assert "finisher:" not in worker.log


async def test_a_worker_that_is_killed_is_found_out_without_channels(
    house: House, limited: Setting
) -> None:
    url = await limited("~*", "+@all", "resetchannels")
    victim = await house.start_worker(WORKER_REDIS_URL=url)
    handle = await house.client.enqueue(tasks.hold, what="held")
    await wait_until_running(house.client, handle.id)
    victim.kill9()
    await house.start_worker(WORKER_REDIS_URL=url)
    await handle.result(20)
    assert await effects_of(house.db) == ["held"]


@pytest.mark.parametrize(
    ("rights", "line"),
    [
        (("~arq:*", "&*", "+@all"), "ACL SETUSER limited ~worker:*"),
        (("~*", "&*", "+@all", "-zadd"), "ACL SETUSER limited +zadd"),
        (("~worker:*", "+@all", "-evalsha"), "ACL SETUSER limited ~arq:* +evalsha &worker:*"),
    ],
)
async def test_a_right_that_is_needed_is_named_and_the_worker_does_not_start(
    house: House, limited: Setting, rights: tuple[str, ...], line: str
) -> None:
    worker = house._start(WORKER_REDIS_URL=await limited(*rights))
    assert worker.wait() == 1
    said = [text for text in worker.log.splitlines() if "ACL SETUSER" in text]
    assert len(said) == 1
    assert said[0].endswith(line)
    assert "Traceback" not in worker.log


async def test_the_documented_rights_are_enough(house: House, limited: Setting) -> None:
    assert DOCUMENTED is not None
    worker = await house.start_worker(WORKER_REDIS_URL=await limited(*DOCUMENTED[1].split()))
    await run_a_batch(house)
    handle = await house.client.enqueue(tasks.hold, what="held", seconds=60)
    await wait_until_running(house.client, handle.id)
    await handle.cancel()
    assert worker.terminate() == 0
    assert "ACL" not in worker.log
    assert "no permissions" not in worker.log


async def test_a_queue_that_is_a_key_of_another_type_is_refused_at_the_start(house: House) -> None:
    async with connect(house.redis.url) as admin:
        await admin.set("arq:queue", "somebody else's")
    worker = house._start()
    assert worker.wait() == 1
    assert "WORKER_QUEUE: what lies at 'arq:queue' in this Redis is no queue" in worker.log
    assert "Traceback" not in worker.log


async def test_trying_leaves_nothing_behind() -> None:
    async with EmbeddedRedis() as server, connect(server.url) as redis:
        await redis.zadd("arq:queue", {"there": 1})
        await redis.set("arq:queue:health-check", "well", px=60_000)
        assert await check_access(redis, ["arq:queue"]) is None
        assert set(await redis.keys("*")) == {b"arq:queue", b"arq:queue:health-check"}
        assert await redis.pttl("arq:queue") == -1
        assert 0 < await redis.pttl("arq:queue:health-check") <= 60_000
        assert await redis.zrange("arq:queue", 0, -1, withscores=True) == [(b"there", 1.0)]


JSON = {"job_serializer": codec.serialize, "job_deserializer": codec.deserialize}

ARQ_ALONE = "~arq:* +@read +@write +@connection +@scripting +@transaction +time +eval +evalsha"


@pytest.mark.parametrize(
    ("rights", "options", "missing"),
    [
        (ARQ_ALONE, {}, None),
        (ARQ_ALONE, {"allow_abort_jobs": True}, None),
        (ARQ_ALONE, {"queues": {"arq:queue": 1, "mail": 1}}, "~mail"),
        (ARQ_ALONE, {"health_check_key": "health"}, "~health"),
        (ARQ_ALONE, {"cron_jobs": [cron(act, hour=4)]}, "~worker:*"),
        (ARQ_ALONE + " -evalsha -zadd", {}, "+zadd +evalsha"),
        ("~mail +@all", {}, "~arq:*"),
    ],
)
async def test_what_a_stock_class_needs_is_found_out_at_its_start(
    rights: str, options: dict[str, Any], missing: str | None
) -> None:
    async with EmbeddedRedis(tcp=True) as server, connect(server.url) as admin:
        await command(admin, f"ACL SETUSER limited on >pw {rights}")
        url = arq_settings(server.url.replace("redis://", "redis://limited:pw@"))
        options |= {"redis_settings": url, "burst": True, "handle_signals": False, **JSON}
        worker = FastWorker([act], **options)
        await admin.enqueue_job("act", _job_id="one")
        try:
            if missing is None:
                assert await worker.run_check() == 1
            else:
                with pytest.raises(SettingsError, match="^redis_settings: ") as told:
                    await worker.async_run()
                assert str(told.value).endswith(f"ACL SETUSER limited {missing}")
                assert await admin.zcard("arq:queue") == 1
        finally:
            await worker.close()


async def test_every_key_is_named_that_an_other_queue_needs() -> None:
    async with EmbeddedRedis(tcp=True) as server, connect(server.url) as admin:
        await command(admin, "ACL SETUSER limited on >pw ~arq:* ~worker:* &* +@all")
        url = server.url.replace("redis://", "redis://limited:pw@")
        async with connect(url) as redis:
            with pytest.raises(SettingsError, match="limited ~mail ~mail:health-check$"):
                await check_access(redis, ["arq:queue", "mail"])
        await command(admin, "ACL SETUSER limited resetkeys ~arq:* ~worker:pulse:*")
        async with connect(url) as redis:
            with pytest.raises(SettingsError, match=r"limited ~worker:\*$"):
                await check_access(redis, ["arq:queue"])
        async with connect(server.url.replace("redis://", "redis://limited:no@")) as redis:
            with pytest.raises(SettingsError, match="Redis refuses us"):
                await check_access(redis, ["arq:queue"])
        server.kill9()
        assert await check_access(admin, ["arq:queue"]) is None, "whoever is away refuses nothing"
