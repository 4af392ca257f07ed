"""A queue of another database, as a user meets it at `worker run` and takes it over."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import wait_until
from tests.processes import WorkerProcess, run_command
from uow import Settings, TaskClient
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.tasks.queue_owner import Owner, claim_queues, say_alive

SHOP = Owner("5f0c3a52-5b8e-4d0e-9b0c-6d8f0f1f8a11", "shop", "public", "shop")


@pytest.mark.parametrize("engine", [(), ("--stock",)], ids=["fast", "stock"])
async def test_it_is_refused_in_one_line_and_served_once_it_was_taken_over(
    settings: Settings,
    client: TaskClient,
    redis: RedisClient,
    start_worker: Callable[..., WorkerProcess],
    effects: Callable[[], Awaitable[list[str]]],
    engine: tuple[str, ...],
) -> None:
    await claim_queues(redis, [settings.queue], SHOP)
    await client.enqueue(tasks.effect, what="once")
    refused = await run_command(settings, "run", *engine)
    assert refused.returncode == 1
    (line,) = [one for one in refused.stderr.splitlines() if "WORKER_QUEUE" in one]
    assert "database 'shop', schema 'public' (WORKER_APP=shop, 5f0c3a52)" in line
    assert "Traceback" not in refused.stderr

    await say_alive(redis, [settings.queue])
    stopped = await run_command(settings, "queue", "take-over")
    assert stopped.returncode == 1
    assert "or say --force" in stopped.stderr
    await redis.delete(keys.owner_lives(settings.queue))
    taken = await run_command(settings, "queue", "take-over", settings.queue)
    assert taken.returncode == 0, taken.stderr
    assert "before that it was that of database 'shop'" in taken.stdout
    assert "Jobs in it: 1;" in taken.stdout
    await asyncio.to_thread(start_worker(*engine).wait_for_log, "ready: queue")

    async def applied() -> bool:
        return await effects() == ["once"]

    await wait_until(applied)
