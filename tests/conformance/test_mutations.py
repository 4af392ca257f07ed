"""The suite must notice when a guarantee is gone: each of these breaks one, and looks.

A scenario passes with the product as it is. With one piece removed it must fail, or it proves
nothing.
"""

import contextlib
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from tests.conformance.conftest import create_effects, effects_of
from tests.conformance.tasks import INSERT
from tests.conftest import Drain
from uow import Database, Settings, TaskClient, TaskContext, TaskState, task
from uow.broker.redis import RedisClient
from uow.db.fragments import UNSETTLED
from uow.db.statement import TEMPLATES, Written
from uow.errors import AttemptSuperseded
from uow.services.presence import Presence
from uow.services.rescuer import Rescuer
from uow.tasks.registry import Registry

Scenario = Callable[[], Awaitable[None]]


@pytest.fixture
async def overtaken(db: Database, client: TaskClient, registry: Registry, drain: Drain) -> Scenario:
    """While an attempt runs, its task is settled by another: its effect must not stay."""
    await create_effects(db)

    @task("overtaken", registry=registry)
    async def overtaken(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "mine"})
        await db.execute_once(
            text("UPDATE task SET state = 'succeeded', settled_at = now() WHERE id = :id"),
            {"id": ctx["task"].id},
        )
        await db.execute_once(INSERT, {"what": "the other's"})

    async def scenario() -> None:
        await client.enqueue(overtaken)
        await drain()
        assert await effects_of(db) == ["the other's"]

    return scenario


@pytest.fixture
async def redis_forgets(
    db: Database,
    client: TaskClient,
    redis: RedisClient,
    settings: Settings,
    registry: Registry,
    drain: Drain,
) -> Scenario:
    """A task was pushed and Redis has lost it: it must run all the same."""

    @task("forgotten", registry=registry)
    async def forgotten(ctx: TaskContext) -> None: ...

    async def scenario() -> None:
        handle = await client.enqueue(forgotten)
        await client.flush()
        await db.execute_once(text("UPDATE task SET dispatch_at = 'infinity'"), {})
        await redis.flushall()
        presence = Presence(db, "me", settings, running=list)
        await Rescuer(db, redis, settings, presence, wake_relay=lambda: None).run_once()
        await drain()
        assert await handle.status() is TaskState.SUCCEEDED

    return scenario


@pytest.fixture
async def superseded_block(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> Scenario:
    """A later attempt has begun: a separate block of the earlier one must not commit."""
    await create_effects(db)

    @task("superseded", atomic=False, max_tries=1, registry=registry)
    async def superseded(ctx: TaskContext) -> None:
        await db.execute_once(
            text("UPDATE task SET attempt = attempt + 1 WHERE id = :id"), {"id": ctx["task"].id}
        )
        with contextlib.suppress(AttemptSuperseded):
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "late"})

    async def scenario() -> None:
        await client.enqueue(superseded)
        await drain()
        assert await effects_of(db) == []

    return scenario


def without(statement: str, guard: str) -> Written:
    """A statement with a guard removed."""
    whole = TEMPLATES[statement].written("worker").clause
    assert guard in whole.text, f"{statement} has no guard {guard!r}"
    mutated = text(whole.text.replace(guard, "true", 1))
    kept = mutated._bindparams.keys()
    return Written.of(mutated.bindparams(*(whole._bindparams[name] for name in kept)))


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Remove a guard from every `Database`, the worker's."""

    def apply(statement: str, guard: str) -> None:
        mutated = without(statement, guard)
        monkeypatch.setattr(TEMPLATES[statement], "written", lambda schema: mutated)

    return apply


async def test_the_guarded_completion_is_what_keeps_an_effect_single(overtaken: Scenario) -> None:
    await overtaken()


async def test_without_the_guarded_completion_the_effect_is_doubled(
    overtaken: Scenario, mutate: Callable[[str, str], None]
) -> None:
    mutate("succeed", UNSETTLED)
    with pytest.raises(AssertionError, match="mine"):
        await overtaken()


async def test_the_rescuer_is_what_brings_a_forgotten_task_back(redis_forgets: Scenario) -> None:
    await redis_forgets()


async def test_without_the_rescuer_a_forgotten_task_is_stuck(
    redis_forgets: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: Rescuer) -> None: ...

    monkeypatch.setattr(Rescuer, "run_once", nothing)
    with pytest.raises(AssertionError, match="SUCCEEDED"):
        await redis_forgets()


async def test_the_check_of_the_attempt_is_what_stops_a_superseded_block(
    superseded_block: Scenario,
) -> None:
    await superseded_block()


async def test_without_the_check_of_the_attempt_a_superseded_block_commits(
    superseded_block: Scenario, mutate: Callable[[str, str], None]
) -> None:
    mutate("is_current", "attempt = :attempt")
    with pytest.raises(AssertionError, match="late"):
        await superseded_block()
