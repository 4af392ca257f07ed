"""Why a task waits, and the workers, over HTTP."""

from uuid import uuid4

import httpx
from sqlalchemy import text

from tests.integration.api.conftest import assert_problem
from uow import Database, Settings, TaskClient
from uow.services.presence import Presence


async def test_why_a_task_waits_is_a_name_and_a_line(
    api: httpx.AsyncClient, client: TaskClient
) -> None:
    handle = await client.enqueue("math.add", a=1)
    answer = await api.get(f"/api/tasks/{handle.id}/why")
    assert answer.json() == {
        "reason": "unserved",
        "text": "no live worker serves its queue 'arq:queue': start one with WORKER_QUEUES, or "
        "cancel it",
    }
    await client.cancel(handle.id)
    assert (await api.get(f"/api/tasks/{handle.id}/why")).json()["reason"] == "settled"


async def test_of_a_task_that_is_not_there_it_is_a_404(api: httpx.AsyncClient) -> None:
    missing = uuid4()
    problem = assert_problem(await api.get(f"/api/tasks/{missing}/why"), 404)
    assert problem["detail"] == f"Task id {missing} not found"
    assert_problem(await api.get("/api/tasks/nonsense/why"), 422)


async def test_the_workers_are_listed_also_those_of_an_older_version(
    api: httpx.AsyncClient, db: Database, settings: Settings
) -> None:
    assert (await api.get("/api/workers")).json() == {"workers": [], "capped": False}
    await Presence(db, "me", settings, running=list).run_once()
    await db.execute_once(
        text("INSERT INTO worker_process (id, queue, running) VALUES ('older', 'a,b', '{}')"), {}
    )
    me, older = (await api.get("/api/workers")).json()["workers"]
    assert (me["id"], me["slots"], me["lives"], me["running"]) == ("me", 5, True, [])
    assert (older["id"], older["queues"], older["slots"]) == ("older", ["a", "b"], None)


async def test_without_servers_it_is_a_503(refusing: httpx.AsyncClient) -> None:
    for path in (f"/api/tasks/{uuid4()}/why", "/api/workers"):
        assert_problem(await refusing.get(path), 503)


async def test_the_documented_examples_are_answers_that_there_can_be(
    api: httpx.AsyncClient,
) -> None:
    schemas = (await api.get("/openapi.json")).json()["components"]["schemas"]
    for name in ("WhyAnswer", "WorkerAnswer", "WorkersAnswer"):
        assert {*schemas[name]["example"]} == {*schemas[name]["properties"]}
