"""Pausing over HTTP."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.integration.api.conftest import assert_problem

PATHS = ["everything", "queues/arq:queue", "names/billing.send", "users/a b/c"]


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_paused_listed_and_resumed(api: httpx.AsyncClient, path: str) -> None:
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    answer = await api.post(f"/api/{path}/pause", json={"reason": "an incident", "until": end})
    assert answer.status_code == 204
    [one] = (await api.get("/api/pauses")).json()
    kind, _, target = path.partition("/")
    assert (one["kind"], one["target"]) == (kind if kind == "everything" else kind[:-1], target)
    assert (one["reason"], datetime.fromisoformat(one["until"]).isoformat()) == ("an incident", end)
    assert (await api.post(f"/api/{path}/resume")).status_code == 204
    assert (await api.get("/api/pauses")).json() == []
    assert_problem(await api.post(f"/api/{path}/resume"), 409)


async def test_an_end_is_said_as_in_the_shell(api: httpx.AsyncClient) -> None:
    before = datetime.now(UTC)
    await api.post("/api/queues/mail/pause", json={"until": "2h"})
    await api.post("/api/queues/other/pause", json={"until": "2100-01-01T00:00"})
    soon, late = [
        datetime.fromisoformat(one["until"]) for one in (await api.get("/api/pauses")).json()
    ]
    assert timedelta(hours=2) <= soon - before < timedelta(hours=3)
    assert late == datetime(2100, 1, 1, tzinfo=UTC)


async def test_an_end_that_is_over_or_no_moment_is_refused(api: httpx.AsyncClient) -> None:
    for until in ("2020-01-01T00:00:00Z", "soon", "", 7):
        answer = await api.post("/api/queues/arq:queue/pause", json={"until": until})
        assert_problem(answer, 422)
    assert (await api.get("/api/pauses")).json() == []
