"""Postgres goes away, cuts connections, or refuses: nothing is lost and no try is burned."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from sqlalchemy import make_url, text

from tests.conformance import tasks
from tests.conformance.conftest import House, effects_of, wait_until, wait_until_running
from tests.proxy import Proxy
from uow import TaskState
from uow.broker.redis import connect
from uow.main import POLL_DELAY

TRIES = text("SELECT coalesce(sum(tries), 0) FROM task")
STATES = text("SELECT DISTINCT state FROM task")
CUT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


async def succeeded_without_a_try(house: House) -> None:
    async def done() -> bool:
        return bool((await house.db.execute_once(tasks.LEFT, {})).scalar_one() == 0)

    await wait_until(done, 40)
    states = await house.db.execute_once(STATES, {})
    assert list(states.scalars()) == [TaskState.SUCCEEDED]
    assert (await house.db.execute_once(TRIES, {})).scalar_one() == 0


async def test_postgres_restarted_under_running_tasks_costs_no_try_and_no_process(
    house: House,
) -> None:
    worker = await house.start_worker()
    handles = [await house.client.enqueue(tasks.hold, what=f"{n}") for n in range(5)]
    for handle in handles:
        await wait_until_running(house.client, handle.id)
    # Their first attempts hold for an hour: what ends them is the cancel, after the restart.
    house.postgres.kill9()
    await asyncio.to_thread(worker.wait_for_log, "claims nothing")
    house.postgres.start()
    await asyncio.to_thread(worker.wait_for_log, "claims again")
    await asyncio.to_thread(worker.kill9)
    await house.start_worker()
    await succeeded_without_a_try(house)
    assert await effects_of(house.db) == [f"{n}" for n in range(5)]


async def test_while_postgres_is_away_nothing_is_claimed_and_no_process_ends(
    house: House,
) -> None:
    worker = await house.start_worker()
    await (await house.client.enqueue(tasks.effect, what="before")).result(10)
    house.postgres.kill9()
    await asyncio.to_thread(worker.wait_for_log, "claims nothing")
    redis = connect(house.redis.url)
    await redis.zadd("arq:queue", {"stays": 1})
    await asyncio.sleep(10 * POLL_DELAY)  # as often a worker looks that may claim
    assert await redis.exists("arq:in-progress:stays") == 0
    assert await redis.zrem("arq:queue", "stays") == 1  # whoever claims it drops it: it is no task
    await redis.aclose()
    house.postgres.start()
    await asyncio.to_thread(worker.wait_for_log, "claims again")
    await house.client.enqueue(tasks.effect, what="after")
    await succeeded_without_a_try(house)
    assert await effects_of(house.db) == ["after", "before"]
    assert worker.process.poll() is None


@contextlib.asynccontextmanager
async def way_to_postgres(house: House) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the server, and the URL that leads through it."""
    url = make_url(house.settings.require_database().url)
    assert url.host is not None
    assert url.port is not None
    async with Proxy(url.host, url.port).listening() as proxy:
        yield proxy, url.set(host="127.0.0.1", port=proxy.port).render_as_string(False)


async def test_a_worker_whose_postgres_has_fallen_silent_lets_the_others_have_the_tasks(
    house: House,
) -> None:
    async with way_to_postgres(house) as (proxy, through):
        cut_off = await house.start_worker(WORKER_DATABASE_URL=through)
        await house.start_worker()
        proxy.passes.clear()
        for n in range(40):
            await house.client.enqueue(tasks.effect, what=f"{n:02}")
            await asyncio.sleep(0)
        await succeeded_without_a_try(house)
        await asyncio.to_thread(cut_off.wait_for_log, "claims nothing")
        assert await effects_of(house.db) == [f"{n:02}" for n in range(40)]
        proxy.passes.set()
        await asyncio.to_thread(cut_off.wait_for_log, "claims again")


async def test_while_postgres_is_silent_a_worker_ends_in_time_when_it_is_told_to(
    house: House,
) -> None:
    async with way_to_postgres(house) as (proxy, through):
        worker = await house.start_worker(WORKER_DATABASE_URL=through)
        handle = await house.client.enqueue(tasks.linger)
        await wait_until_running(house.client, handle.id)
        proxy.passes.clear()
        starting = house._start(WORKER_DATABASE_URL=through, WORKER_CONNECT_TIMEOUT="600")
        await asyncio.to_thread(starting.wait_for_log, "waiting for Postgres")
        for process in (worker, starting):
            began = time.monotonic()
            await asyncio.to_thread(process.terminate)
            assert time.monotonic() - began < 5


async def test_connections_cut_by_the_server_burn_no_try(house: House) -> None:
    worker = await house.start_worker()
    for n in range(40):
        await house.client.enqueue(tasks.brief, what=f"{n:02}")
    for _ in range(5):
        await house.db.execute_once(CUT, {})
        await asyncio.sleep(0.2)
    await succeeded_without_a_try(house)
    assert await effects_of(house.db) == [f"{n:02}" for n in range(40)]
    assert worker.process.poll() is None


async def test_retryable_sql_errors_in_a_fifth_of_the_tasks_burn_no_try(house: House) -> None:
    await house.start_worker(WORKER_CONCURRENCY="30")
    states = ["40001", "40P01", "57P01", "53300", "08006"]
    flaky = [{"what": f"{n:02}", "state": states[n % 5]} for n in range(20)]
    await house.client.enqueue_many(tasks.flaky_sql, flaky)
    await house.client.enqueue_many(tasks.effect, [{"what": f"{n:02}"} for n in range(20, 100)])
    await succeeded_without_a_try(house)
    assert await effects_of(house.db) == [f"{n:02}" for n in range(100)]


async def test_a_lost_answer_to_commit_is_read_back_and_the_effect_is_there_once(
    house: House,
) -> None:
    url = make_url(house.settings.require_database().url)
    assert url.host is not None
    assert url.port is not None
    async with Proxy(url.host, url.port).listening() as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port).render_as_string(False)
        worker = await house.start_worker(WORKER_DATABASE_URL=through)
        proxy.swallow_answer_to = b"'succeeded'", b"COMMIT"
        handle = await house.client.enqueue(tasks.effect, what="once")
        assert await handle.result(10) == "once"
        await asyncio.to_thread(worker.wait_for_log, "the COMMIT's answer was lost")
        assert proxy.swallowed == 1
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.attempt, view.tries) == (1, 0)
    assert await effects_of(house.db) == ["once"]
