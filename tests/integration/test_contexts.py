"""What one attempt sets around itself is not seen by another: context variables, Sentry's data."""

import asyncio
import threading
from contextvars import ContextVar

import pytest
import sentry_sdk

from tests.conftest import Drain
from tests.sentry import reported, users_and_breadcrumbs
from uow import TaskClient, TaskContext, task
from uow.tasks.registry import Registry
from uow.telemetry import sentry

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.mark.parametrize("durable", [True, False])
async def test_a_context_variable_that_one_attempt_sets_is_not_seen_by_another(
    client: TaskClient, registry: Registry, drain: Drain, durable: bool
) -> None:
    found: list[str] = []

    @task("sets", durable=durable, registry=registry)
    async def sets(ctx: TaskContext, who: str) -> None:
        found.append(tenant.get())
        tenant.set(who)
        await asyncio.sleep(0)
        found.append(tenant.get())

    for _ in range(2):
        await client.enqueue_many(sets, [{"who": "ada"}] * 4)
        await drain()
    assert sorted(found) == ["ada"] * 8 + ["nobody"] * 8
    assert tenant.get() == "nobody"


@pytest.mark.parametrize("durable", [True, False])
async def test_the_report_of_a_failed_task_has_nothing_of_another_task(
    client: TaskClient, registry: Registry, drain: Drain, durable: bool
) -> None:
    both = asyncio.Barrier(2)

    @task("fails", durable=durable, max_tries=1, registry=registry)
    async def fails(ctx: TaskContext, who: str) -> None:
        if who != "nobody":
            sentry_sdk.set_user({"id": who})
            sentry_sdk.add_breadcrumb(message=f"{who} was here", type="default")
        await both.wait()
        raise ValueError(who)

    with reported() as events:
        for others in ("ada", "bob"), ("cy", "nobody"):
            await client.enqueue_many(fails, [{"who": who} for who in others])
            await drain()
    mine = [event for event in events if event["logger"].startswith(("uow.attempt", "uow.fast"))]
    assert users_and_breadcrumbs(mine) == [
        *((who, [f"{who} was here"]) for who in ("ada", "bob", "cy")),
        ("nobody", []),
    ]


async def test_an_sdk_that_cannot_fork_its_scopes_stops_no_task_and_is_told_of_once(
    client: TaskClient, registry: Registry, drain: Drain, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.delattr(sentry_sdk, "isolation_scope")
    monkeypatch.setattr(sentry, "_warned", threading.Event())

    @task("goes.on", registry=registry)
    async def goes_on(ctx: TaskContext) -> str:
        return "on"

    handles = [await client.enqueue(goes_on) for _ in range(2)]
    await drain()
    assert [await handle.result(10) for handle in handles] == ["on", "on"]
    assert caplog.text.count("Sentry's scopes cannot be forked") == 1
