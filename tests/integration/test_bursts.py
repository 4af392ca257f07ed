"""A burst ends when nothing is left, and not because a server has hiccuped."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text

from tests.conftest import Drain
from uow import Database, TaskContext, TaskState, task
from uow.services.relay import Relay
from uow.tasks import jobs
from uow.tasks.registry import Registry

PASSING = (
    asyncpg.ConnectionDoesNotExistError("the connection was closed in the middle of a statement"),
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    RedisConnectionError("the connection was closed"),
    OSError("no route to the host"),
)


def failing_first(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    left = [*PASSING, *PASSING]

    async def call(*arguments: Any) -> Any:
        if left:
            raise left.pop()
        return await function(*arguments)

    return call


@pytest.mark.parametrize("what", ["relay", "question"])
async def test_a_burst_waits_until_a_server_can_tell_what_is_left(
    what: str, db: Database, registry: Registry, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task("note", registry=registry)
    async def note(ctx: TaskContext) -> None: ...

    if what == "relay":
        monkeypatch.setattr(Relay, "run_once", failing_first(Relay.run_once))
    else:
        question = failing_first(jobs.is_anything_due)
        monkeypatch.setattr("uow.stock.worker.is_anything_due", question)
        monkeypatch.setattr("uow.fast.task_serving.is_anything_due", question)
    await db.execute_once(text("INSERT INTO task (name) VALUES ('note')"), {})
    await drain()
    found = await db.execute_once(text("SELECT state, tries FROM task"), {})
    assert [tuple(row) for row in found] == [(TaskState.SUCCEEDED, 0)]


async def test_a_burst_ends_by_what_no_server_will_ever_tell(
    registry: Registry, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task("note", registry=registry)
    async def note(ctx: TaskContext) -> None: ...

    async def refused(*_: Any) -> int:
        raise asyncpg.InsufficientPrivilegeError("permission denied for table task")

    monkeypatch.setattr(Relay, "run_once", refused)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await drain()
