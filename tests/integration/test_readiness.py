"""A start asks several questions: at each of them a server may be gone that has answered before."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import task_worker
from uow import Settings, TaskContext, task
from uow.broker.redis import RedisClient
from uow.db import fleet
from uow.errors import ServerUnreachable
from uow.fast.task_worker import TaskWorker
from uow.services import readiness
from uow.services.readiness import wait_for_servers
from uow.tasks.registry import Registry

Question = Callable[..., Awaitable[Any]]


class Away:
    """A question whose server is away the first time."""

    def __init__(self, question: Question, times: int = 1) -> None:
        self.question = question
        self.times = times
        self.asked = 0

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        if self.asked <= self.times:
            raise ConnectionRefusedError("the server is away")
        return await self.question(*args, **kwargs)


@pytest.fixture(params=["whose queue is it", "is it a cluster", "are our tables there"])
def gone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Away:
    place, name = {
        "whose queue is it": (fleet, "identity"),
        "is it a cluster": (readiness, "refuse_cluster"),
        "are our tables there": (readiness, "refuse_unmigrated"),
    }[request.param]
    away = Away(getattr(place, name))
    monkeypatch.setattr(place, name, away)
    return away


async def test_a_server_that_goes_between_two_questions_is_waited_for(
    settings: Settings, redis: RedisClient, gone: Away
) -> None:
    await wait_for_servers(settings, serves=[settings.queue])
    assert gone.asked == 2


async def test_a_worker_waits_for_it_in_its_startup_hook(
    settings: Settings, redis: RedisClient, registry: Registry, gone: Away
) -> None:
    @task("confirm", registry=registry)
    async def confirm(ctx: TaskContext) -> None: ...

    _, worker = task_worker(TaskWorker, settings, registry)
    try:
        await worker.async_run()
    finally:
        await worker.close()
    assert gone.asked >= 2


async def test_a_server_that_stays_away_is_named_when_the_time_is_over(
    settings: Settings, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "identity", Away(fleet.identity, times=1000))
    hasty = settings.model_copy(update={"connect_timeout": 0.3})
    async with asyncio.timeout(20):
        with pytest.raises(ServerUnreachable, match=r"Postgres at .* within 0.3 s.*away"):
            await wait_for_servers(hasty, serves=[settings.queue])
