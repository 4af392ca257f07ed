"""Signed links to events: a page of the user's follows one task, or one user's tasks."""

import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from tests.integration.api.test_event_streams import Reader
from tests.servers import serving
from uow import Database, Settings, TaskClient
from uow.api import EventLinks, events_router
from uow.errors import SettingsError

SECRET = "a-secret-of-thirty-two-characters"


@pytest.fixture
def links() -> EventLinks:
    return EventLinks(SECRET)


@pytest.fixture
async def http(settings: Settings, links: EventLinks) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(events_router(links), prefix="/live")
    async with (
        Database.from_settings(settings.require_database()) as app.state.db,
        TaskClient.from_settings(settings, db=app.state.db) as app.state.client,
        serving(app) as http,
    ):
        yield http


async def followed(http: httpx.AsyncClient, query: str) -> list[str]:
    """The ids of the first snapshot."""
    async with http.stream("GET", f"/live/events?{query}") as response:
        assert response.status_code == 200, await response.aread()
        event, tasks = await Reader(response.aiter_lines()).next()
    assert event == "snapshot"
    return [task["id"] for task in tasks]


async def test_a_link_follows_what_it_was_signed_for(
    http: httpx.AsyncClient, links: EventLinks, client: TaskClient
) -> None:
    handle = await client.enqueue("math.add", a=1)
    assert await followed(http, links.to_task(handle.id)) == [str(handle.id)]
    assert await followed(http, links.to_user("ann & ben")) == []


@pytest.mark.parametrize("change", ["user", "task", "until", "signature"])
async def test_a_link_that_was_changed_is_refused(
    http: httpx.AsyncClient, links: EventLinks, change: str
) -> None:
    said = dict(parse_qsl(links.to_user("ann")))
    other = {"user": "ben", "task": str(uuid4()), "until": str(int(said["until"]) + 1)}
    changed = said | {change: other.get(change, "0" * 64)}
    response = await http.get(f"/live/events?{urlencode(changed)}")
    assert response.status_code == 403
    assert response.json() == {"detail": "this link is good no more; ask for a new one"}


@pytest.mark.parametrize("signature", ["", "bêtä", "x" * 9000])
async def test_no_signature_is_none(http: httpx.AsyncClient, signature: str) -> None:
    query = urlencode({"until": 2**40, "signature": signature})
    for more in ("", "&user=ann", f"&task={uuid4()}"):
        assert (await http.get(f"/live/events?{query}{more}")).status_code == 403


async def test_a_link_that_is_over_is_refused_and_a_stream_ends_with_its_link(
    http: httpx.AsyncClient, links: EventLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = links.to_user("ann", seconds=0.1)
    async with http.stream("GET", f"/live/events?{query}") as response:
        assert response.status_code == 200
        async for _ in response.aiter_lines():
            pass
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10)
    assert (await http.get(f"/live/events?{query}")).status_code == 403


def test_of_another_secret_it_is_none(links: EventLinks) -> None:
    from uow.questions.following import Following

    said = dict(parse_qsl(links.to_task(UUID(int=7))))
    known = Following(task=UUID(int=7)), int(said["until"]), said["signature"]
    assert links.seconds_left(*known) > 0
    assert EventLinks(SecretStr(SECRET[::-1])).seconds_left(*known) == 0


@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan"), float("inf")])
def test_a_link_is_short_lived(links: EventLinks, seconds: float) -> None:
    with pytest.raises(ValueError, match="up to 86,400 s"):
        links.to_user("ann", seconds=seconds)


def test_the_secret_is_the_settings_and_no_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="WORKER_API_SECRET is not set"):
        EventLinks.from_settings()
    monkeypatch.setenv("WORKER_API_SECRET", "hunter2")
    with pytest.raises(SettingsError, match="WORKER_API_SECRET: needs at least 32") as caught:
        EventLinks.from_settings()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsError, match="32 characters"):
        EventLinks("hunter2")
    monkeypatch.setenv("WORKER_API_SECRET", SECRET)
    assert EventLinks.from_settings().to_user("ann")
