"""Tasks are listed and shown over HTTP."""

from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Drain
from tests.integration.api.conftest import assert_problem


async def enqueue(api: httpx.AsyncClient, **body: Any) -> str:
    response = await api.post("/tasks", json={"name": "math.add", "args": {"a": 1}, **body})
    return str(response.json()["id"])


class TestList:
    async def test_the_newest_come_first_and_pages_follow_each_other(
        self, api: httpx.AsyncClient
    ) -> None:
        ids = [await enqueue(api, args={"a": n}, user_id=n % 2) for n in range(5)][::-1]
        found = (await api.get("/api/tasks", params={"limit": 2})).json()
        assert [task["id"] for task in found["tasks"]] == ids[:2]
        assert found.keys() == {"tasks", "next", "previous", "looked_at", "looked_down_to"}
        assert (found["previous"], found["looked_at"], found["looked_down_to"]) == (None,) * 3
        params = {"limit": 2, "after": found["next"]}
        second = (await api.get("/api/tasks", params=params)).json()
        assert [task["id"] for task in second["tasks"]] == ids[2:4]
        params = {"limit": 2, "before": second["previous"]}
        assert (await api.get("/api/tasks", params=params)).json()["tasks"] == found["tasks"]
        oldest = (await api.get("/api/tasks", params={"order": "oldest", "limit": 1})).json()
        assert [task["id"] for task in oldest["tasks"]] == ids[-1:]

    async def test_a_task_has_what_the_shell_prints(self, api: httpx.AsyncClient) -> None:
        await enqueue(api, user_id="7")
        (task,) = (await api.get("/api/tasks")).json()["tasks"]
        assert task.keys() >= {
            "id", "name", "state", "queue", "user_id", "created_at", "run_at", "settled_at",
            "tries", "attempt",
        }  # fmt: skip
        assert "args" not in task
        assert task["created_at"].endswith("Z")

    async def test_each_word_of_a_filter_is_understood(self, api: httpx.AsyncClient) -> None:
        id_ = await enqueue(api, args={"a": 41}, user_id="7")
        await enqueue(api)
        words = {
            "state": "queued,failed", "name": "math.*", "queue": "arq:queue", "user": "7",
            "since": "1h", "until": "2100-01-01", "arg:a": "41",
        }  # fmt: skip
        for query in ({}, {"arg": "a=41"}):
            given = {**words, **query}
            if query:
                del given["arg:a"]
            found = (await api.get(f"/api/tasks?{urlencode(given)}")).json()
            assert [task["id"] for task in found["tasks"]] == [id_]
        for word, value in (("error", "E"), ("worker", "w"), ("schedule", "s"), ("user", "8"),
                            ("settled-since", "1h"), ("settled-until", "1h")):  # fmt: skip
            found = (await api.get("/api/tasks", params={word: value})).json()
            assert found["tasks"] == []

    async def test_who_has_a_page_already_is_sent_none(self, api: httpx.AsyncClient) -> None:
        await enqueue(api)
        first = await api.get("/api/tasks")
        tag = first.headers["etag"]
        for given in (tag, f'"x", W/{tag}', "*"):
            again = await api.get("/api/tasks", headers={"if-none-match": given})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        await enqueue(api)
        changed = await api.get("/api/tasks", headers={"if-none-match": tag})
        assert (changed.status_code, len(changed.json()["tasks"])) == (200, 2)

    @pytest.mark.parametrize("query", [
        "nam=x", "state=done", "since=soon", "parent=x", "limit=0", "limit=201", "limit=x",
        "order=up", "after=x", "after=e1", "before=x", "name=a&name=b", "arg=x", "arg:password=x",
        "user=%00", "name=%ff%00", "after=%00",
    ])  # fmt: skip
    async def test_what_is_not_understood_is_refused(
        self, api: httpx.AsyncClient, query: str
    ) -> None:
        assert_problem(await api.get(f"/api/tasks?{query}"), 422)

    async def test_without_postgres_it_answers_503(self, refusing: httpx.AsyncClient) -> None:
        assert_problem(await refusing.get("/api/tasks"), 503)
        assert_problem(await refusing.get(f"/api/tasks/{uuid4()}"), 503)


class TestOne:
    async def test_a_task_that_failed_is_shown_with_its_attempt_and_its_timeline(
        self, api: httpx.AsyncClient, drain: Drain
    ) -> None:
        id_ = await enqueue(api, name="math.fail", args={}, headers={"x": "1", "auth-token": "t"})
        await drain()
        found = (await api.get(f"/api/tasks/{id_}")).json()
        assert (found["state"], found["args"], found["result"]) == ("failed", {}, None)
        assert found["origin"]["headers"] == {"x": "1", "auth-token": "[redacted]"}
        (attempt,) = found["attempts"]
        assert (attempt["attempt"], attempt["end"]) == (1, "error")
        assert (attempt["error_type"], attempt["message"]) == ("ValueError", "no such number")
        assert "raise ValueError" in attempt["traceback"]
        assert attempt["worker"]
        assert attempt["waited"] >= 0
        assert attempt["ran"] >= 0
        assert [one["what"] for one in found["timeline"]] == ["asked for", "started", "failed"]
        listed = (await api.get("/api/tasks", params={"error": "ValueError"})).json()
        assert [task["id"] for task in listed["tasks"]] == [id_]
        assert listed["tasks"][0].items() <= found.items()

    async def test_a_task_that_succeeded(self, api: httpx.AsyncClient, drain: Drain) -> None:
        id_ = await enqueue(api, args={"a": 2, "b": 3})
        waiting = await api.get(f"/api/tasks/{id_}")
        assert [one["what"] for one in waiting.json()["timeline"]] == ["asked for"]
        await drain()
        found = (await api.get(f"/api/tasks/{id_}")).json()
        assert (found["result"], found["progress"]) == (5, {"done": 2})
        assert [one["what"] for one in found["timeline"]] == ["asked for", "started", "succeeded"]
        tag = {"if-none-match": waiting.headers["etag"]}
        assert (await api.get(f"/api/tasks/{id_}", headers=tag)).status_code == 200

    async def test_what_is_private_is_not_shown(self, api: httpx.AsyncClient, drain: Drain) -> None:
        id_ = await enqueue(
            api, name="echo", queue="arq:queue", args={"x": {"password": "hunter2", "ok": 1}}
        )
        await drain()
        response = await api.get(f"/api/tasks/{id_}")
        shown = {"password": "[redacted]", "ok": 1}
        assert (response.json()["args"], response.json()["result"]) == ({"x": shown}, shown)
        assert "hunter2" not in response.text

    async def test_a_missing_task_is_not_found(self, api: httpx.AsyncClient) -> None:
        assert_problem(await api.get(f"/api/tasks/{uuid4()}"), 404)
        assert_problem(await api.get("/api/tasks/x"), 422)


async def test_the_words_of_a_filter_are_documented(api: httpx.AsyncClient) -> None:
    documented = (await api.get("/openapi.json")).json()["paths"]["/api/tasks"]["get"]
    names = {parameter["name"] for parameter in documented["parameters"]}
    assert names >= {"state", "name", "settled-since", "arg", "limit", "after"}
    example = documented["responses"]["200"]["content"]["application/json"]["example"]
    assert example["tasks"][0]["name"] == "billing.charge"
