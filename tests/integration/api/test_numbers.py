"""Numbers over HTTP."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.conftest import Drain
from tests.integration.api.conftest import assert_problem
from uow import Database
from uow.services.count_merger import CountMerger

PATHS = ("/api/queues", "/api/names", "/api/users", "/api/users/{user_id}", "/api/errors",
         "/api/stats", "/api/schedules", "/api/servers")  # fmt: skip


async def get(api: httpx.AsyncClient, path: str, **query: Any) -> Any:
    response = await api.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
async def ran(api: httpx.AsyncClient, drain: Drain, db: Database) -> None:
    """Two tasks have run, one has failed, two wait; the rollup is a minute old."""
    for a in (1, 2):
        await api.post("/tasks", json={"name": "math.add", "args": {"a": a}, "user_id": "ann"})
    await api.post("/tasks", json={"name": "math.fail", "user_id": "ann"})
    await drain()
    await db.execute_once(text("UPDATE rollup_inbox SET at = at - interval '2 minutes'"), {})
    await CountMerger(db).run_once()
    for _ in range(2):
        await api.post("/tasks", json={"name": "math.add", "args": {"a": 1}, "user_id": "ann"})


@pytest.mark.usefixtures("ran")
async def test_queues_and_names_say_what_waits_and_what_has_ended(api: httpx.AsyncClient) -> None:
    (queue,) = await get(api, "/api/queues")
    assert (queue["name"], queue["waiting"]) == ("arq:queue", {"value": 2, "source": "exact"})
    assert queue["running"] == {"value": 0, "source": "exact"}
    assert queue["in_redis"]["source"] == "exact"
    hour = queue["rates"]["hour"]
    assert (hour["ended"], hour["source"]) == ({"completed": 2, "failed": 1}, "rollup")
    assert hour["ran"]["p99"] > 0
    add, fail = await get(api, "/api/names", queue="arq:queue")
    assert (add["name"], add["waiting"]["value"], add["in_redis"]) == ("math.add", 2, None)
    assert fail["rates"]["hour"]["ended"] == {"failed": 1}
    assert await get(api, "/api/names", queue="none") == []
    (queue,) = await get(api, "/api/queues", name="math.fail")
    assert (queue["waiting"]["value"], queue["rates"]["hour"]["ended"]) == (0, {"failed": 1})


@pytest.mark.usefixtures("ran")
async def test_users_are_those_of_the_newest_tasks(api: httpx.AsyncClient) -> None:
    await api.post("/tasks", json={"name": "math.add", "args": {"a": 1}})
    found = await get(api, "/api/users")
    ann = {"user_id": "ann", "tasks": 5, "unsettled": 2, "running": 0, "failed": 1}
    assert found == {"looked_at": 6, "are_all": True, "of_nobody": 1, "users": [ann]}


@pytest.mark.usefixtures("ran")
async def test_a_user_has_numbers(api: httpx.AsyncClient) -> None:
    ann = await get(api, "/api/users/ann")
    assert (ann["looked_at"], ann["waiting"]["value"]) == ({"value": 5, "source": "exact"}, 2)
    assert ann["states"]["failed"] == {"value": 1, "source": "exact"}
    assert ann["rates"]["hour"]["ended"] == {"succeeded": 2, "failed": 1}
    assert (await get(api, "/api/users/nobody"))["looked_at"]["value"] == 0


async def test_a_user_may_have_a_slash(api: httpx.AsyncClient) -> None:
    assert (await get(api, "/api/users/zo%C3%AB%2F7"))["user_id"] == "zo\xeb/7"


@pytest.mark.usefixtures("ran")
async def test_errors_and_points(api: httpx.AsyncClient) -> None:
    (error,) = await get(api, "/api/errors", since="2h")
    assert (error["key"], error["failed"]) == ("ValueError", {"value": 1, "source": "rollup"})
    (name,) = await get(api, "/api/errors", by="name", error="ValueError")
    assert name["key"] == "math.fail"
    (hour,) = await get(api, "/api/errors", by="hour")
    assert hour["key"] == hour["since"] == hour["latest"]
    (point,) = await get(api, "/api/stats", last=10)
    assert (point["ended"], point["source"]) == ({"completed": 2, "failed": 1}, "rollup")
    assert await get(api, "/api/stats", span="day", name="none") == []


async def test_schedules_and_servers(api: httpx.AsyncClient, db: Database) -> None:
    assert await get(api, "/api/schedules") == []
    found = await get(api, "/api/servers")
    assert "task" in {one["name"] for one in found["tables"]}
    assert found["redis"]["policy"] == "noeviction"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/errors", {"since": "yesterday"}), ("/api/errors", {"since": "91d"}),
        ("/api/errors", {"by": "user"}), ("/api/stats", {"span": "year"}),
        ("/api/stats", {"last": 0}), ("/api/stats", {"last": 10**9}),
        ("/api/queues", {"name": "x" * 300}),
    ],
)  # fmt: skip
async def test_what_is_not_to_be_understood_is_a_problem(
    api: httpx.AsyncClient, path: str, query: dict[str, Any]
) -> None:
    assert_problem(await api.get(path, params=query), 422)


@pytest.mark.parametrize("query", ["%00", "a%00b", "%ff", "'--"])
async def test_no_text_is_a_server_error(api: httpx.AsyncClient, query: str) -> None:
    for path in ("/api/users/", "/api/names?queue=", "/api/queues?name=", "/api/errors?name=",
                 "/api/stats?queue="):  # fmt: skip
        response = await api.get(path + query)
        assert response.status_code < 500, (path, query, response.text)


async def test_without_postgres_it_is_a_503(refusing: httpx.AsyncClient) -> None:
    for path in PATHS:
        if path != "/api/servers":
            assert_problem(await refusing.get(path), 503)


async def test_that_a_server_is_away_is_an_answer_about_servers(
    refusing: httpx.AsyncClient,
) -> None:
    response = await refusing.get("/api/servers")
    assert response.status_code == 200
    assert {*response.json()["unknown"]} == {"postgres", "tables", "replicas", "redis"}
    assert "127.0.0.1" not in response.text


async def test_the_routes_are_documented_with_examples(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    assert set(PATHS) <= set(paths)
    for path in PATHS[:5]:
        assert "example" in paths[path]["get"]["responses"]["200"]["content"]["application/json"]
