"""A page as a stream of its regions: rendered once for all who look, true in the end, bounded."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import Drain
from tests.integration.api.apps import api_of
from tests.servers import serving
from uow import Settings, TaskClient
from uow.api import token_file
from uow.api.pages import asking_again, watch_stream, watching
from uow.api.pages.asking_again import PageAnswer
from uow.api.pages.watching import Viewer, Watched, followed_on
from uow.api.roles import Role
from uow.questions.following import EVERYTHING, Following
from uow.tasks.registry import Registry

SECONDS = 10
STREAM = {"accept": "text/event-stream"}

Event = tuple[str, dict[str, Any]]


class Looking:
    """What the script of one page hears."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> Event:
        event, data = "end", dict[str, Any]()
        async with asyncio.timeout(SECONDS):
            async for line in self._lines:
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = json.loads(line.removeprefix("data: "))
                elif line.startswith(": "):
                    event = line
                elif not line:
                    return event, data
        return "end", {}

    async def shown(self, text: str) -> str:
        """What the list of tasks says when this is in it."""
        while True:
            event, regions = await self.next()
            assert event in ("regions", ": still here")
            if text in regions.get("tasks", ""):
                return str(regions["tasks"])


@asynccontextmanager
async def looking(
    api: httpx.AsyncClient, path: str = "/ui/tasks", **headers: str
) -> AsyncIterator[Looking]:
    async with api.stream("GET", path, headers={**STREAM, **headers}) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Looking(response.aiter_lines())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PageAnswer]:
    """What has been rendered."""
    found, ask = list[PageAnswer](), asking_again.ask_again

    async def counted(looks: Any) -> PageAnswer:
        found.append(await ask(looks))
        return found[-1]

    monkeypatch.setattr(watching, "ask_again", counted)
    return found


async def test_first_all_regions_then_those_that_have_changed(
    api: httpx.AsyncClient, client: TaskClient, drain: Drain
) -> None:
    handle = await client.enqueue("math.add", a=1)
    page = (await api.get("/ui/tasks")).text
    async with looking(api) as stream:
        event, regions = await stream.next()
        assert event == "regions"
        assert regions.keys() == {"tasks"}
        assert regions["tasks"] in page
        await drain()
        html = await stream.shown("succeeded")
        assert str(handle.id) in html
        assert html.startswith('<section id="tasks" data-live="')


async def test_what_no_hint_tells_of_is_shown_after_a_quiet_time(
    api: httpx.AsyncClient, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(watch_stream, "followed_on", lambda _: Following(task=uuid4()))
    async with looking(api) as stream:
        await stream.next()
        handle = await client.enqueue("math.add", a=1)
        await stream.shown(str(handle.id))


async def test_a_page_is_rendered_once_for_all_who_look(
    api: httpx.AsyncClient, client: TaskClient, drain: Drain, asked: list[PageAnswer]
) -> None:
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(looking(api)) for _ in range(20)]
        for stream in streams:
            assert (await stream.next())[0] == "regions"
        before = len(asked)
        await client.enqueue("math.add", a=1)
        await drain()
        for html in await asyncio.gather(*(stream.shown("succeeded") for stream in streams)):
            assert "math.add" in html
        assert len(asked) - before < 10


async def test_whoever_comes_gets_nothing_older_than_the_page_that_is_there(
    api: httpx.AsyncClient, client: TaskClient, asked: list[PageAnswer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(watch_stream, "followed_on", lambda _: Following(task=uuid4()))
    async with looking(api) as first:
        await first.next()
        handle = await client.enqueue("math.add", a=1)
        async with looking(api) as second:
            event, regions = await second.next()
            assert (event, str(handle.id) in regions["tasks"]) == ("regions", True)


async def test_others_see_in_their_own_role(
    settings: Settings, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(watching, "SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr(watching, "CHECK_SECONDS", 0)
    file = tmp_path / "tokens"
    ann = {"authorization": f"Bearer {token_file.add(file, 'ann', Role.VIEWER)}"}
    ben = {"authorization": f"Bearer {token_file.add(file, 'ben', Role.VIEWER)}"}
    app = api_of(settings.model_copy(update={"api_tokens_file": file}), registry)
    async with serving(app) as api:
        assert (await api.get("/ui/tasks", headers=STREAM)).status_code == 401
        async with looking(api, **ann) as of_ann, looking(api, **ben) as of_ben:
            assert (await of_ann.next())[0] == (await of_ben.next())[0] == "regions"
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if "ben" not in line))
            assert await of_ben.next() == ("over", {"status": 401})  # ann is the one who asks
            assert (await of_ben.next())[0] == "end"
            file.write_text("".join(lines).replace("ann viewer", "ann operator"))
            assert await of_ann.next() == ("over", {"status": 403})


async def test_a_role_that_may_not_see_the_page_gets_no_stream_of_it(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    shown = {"authorization": f"Bearer {token_file.add(file, 'shop', Role.ENQUEUER)}"}
    app = api_of(settings.model_copy(update={"api_tokens_file": file}), registry)
    async with serving(app) as api:
        assert (await api.get("/ui/tasks", headers={**STREAM, **shown})).status_code == 403


async def test_what_is_no_page_is_no_stream(api: httpx.AsyncClient) -> None:
    assert (await api.get("/ui/tasks?state=none", headers=STREAM)).status_code == 422
    assert (await api.get("/ui/nothing", headers=STREAM)).status_code == 404
    revealed = await api.get("/ui/tasks?reveal=true", headers=STREAM)
    assert (revealed.status_code, revealed.text) == (204, "")


async def test_without_postgres_no_stream_begins(refusing: httpx.AsyncClient) -> None:
    assert (await refusing.get("/ui/tasks", headers=STREAM)).status_code == 503


async def test_an_outage_is_told_and_so_is_its_end(
    api: httpx.AsyncClient, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "QUIET_SECONDS", 0.05)
    async with looking(api) as stream:
        await stream.next()
        with monkeypatch.context() as away:
            away.setattr(watching, "ask_again", _answering(503))
            assert await stream.next() == ("trouble", {"status": 503})
        assert await stream.next() == ("regions", {})
        with monkeypatch.context() as gone:
            gone.setattr(watching, "ask_again", _answering(404))
            assert await stream.next() == ("over", {"status": 404})


def _answering(status: int) -> Any:
    async def ask(_: Any) -> PageAnswer:
        return PageAnswer(status, Role.ADMIN, {})

    return ask


async def test_a_page_that_takes_too_long_is_an_outage(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_again, "ANSWER_SECONDS", 0)
    assert (await api.get("/ui/tasks", headers=STREAM)).status_code == 503


async def test_with_the_last_who_looks_all_ends(api: httpx.AsyncClient, app: FastAPI) -> None:
    async with looking(api) as one, looking(api, "/ui/tasks?queue=mail") as other:
        await one.next()
        await other.next()
        assert len(app.state.uow_watching) == 2
    async with asyncio.timeout(SECONDS):
        while len(app.state.uow_watching) or len(app.state.uow_streams):
            await asyncio.sleep(0.01)


async def test_there_are_so_many_who_look_and_no_more(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_VIEWERS", 1)
    async with looking(api) as stream:
        await stream.next()
        assert (await api.get("/ui/tasks", headers=STREAM)).status_code == 503


async def test_a_stream_lives_ends_after_its_time_and_when_the_process_is_told_to_stop(
    api: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_stream, "BEAT_SECONDS", 0.05)
    with monkeypatch.context() as short:
        short.setattr(watch_stream, "STREAM_SECONDS", 0.3)
        async with looking(api) as stream:
            await stream.next()
            assert (await stream.next())[0] == ": still here"
            while (await stream.next())[0] != "end":
                pass
    async with looking(api) as stream:
        await stream.next()
        app.state.uow_streams.close()
        while (await stream.next())[0] != "end":
            pass
    assert (await api.get("/ui/tasks", headers=STREAM)).status_code == 503


def test_a_page_follows_the_task_or_the_user_that_it_is_about() -> None:
    task_id = uuid4()
    assert followed_on({"task_id": task_id}) == Following(task=task_id)
    assert followed_on({"task_id": "x"}) == EVERYTHING
    assert followed_on({"user": "zoë/7"}) == Following(user="zoë/7")
    assert followed_on({"name": "mail"}) == EVERYTHING


class TestPages:
    """How it is dealt out, without a server in front."""

    @pytest.fixture
    def of(self, app: FastAPI) -> watching.Watching:
        return watching.Watching(streams=None)  # type: ignore[arg-type]

    async def test_who_reads_slowly_is_told_the_newest_state_and_nothing_else(
        self, of: watching.Watching
    ) -> None:
        page, viewer = Watched(of, EVERYTHING), Viewer({}, 0.0, after=-1)
        for number in range(1000):
            page._take(PageAnswer(200, None, {"numbers": str(number), "others": "as before"}))
        assert page.frame(viewer) == event("regions", {"numbers": "999", "others": "as before"})
        assert page.frame(viewer) is None
        page._take(PageAnswer(200, None, {"numbers": "1000", "others": "as before"}))
        page._take(PageAnswer(503, None, {}))
        assert page.frame(viewer) == event("trouble", {"status": 503})
        assert page.frame(viewer) is None
        page._take(PageAnswer(200, None, {"numbers": "1000"}))
        assert page.frame(viewer) == event("regions", {"numbers": "1000", "others": ""})
        assert len(page._frames) <= 2

    async def test_what_began_before_somebody_came_is_not_shown_to_them(
        self, of: watching.Watching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = [asyncio.get_running_loop().create_future() for _ in range(2)]
        answers = iter(asked)
        monkeypatch.setattr(watching, "ask_again", lambda _: next(answers))
        page, scope = Watched(of, EVERYTHING), {"state": {"role": Role.VIEWER}}
        first, second = (Viewer(scope, float("inf")) for _ in range(2))
        page._loop = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
        page.add(first)
        for number in range(2):
            rendering = asyncio.create_task(page._render())
            await asyncio.sleep(0)
            if number == 0:
                page.add(second)
            asked[number].set_result(PageAnswer(200, Role.VIEWER, {"numbers": str(number)}))
            await rendering
            assert page.frame(first) == event("regions", {"numbers": str(number)})
            assert (page.frame(second) is None) == (number == 0)
        await page.remove(first)
        await page.remove(second)

    async def test_pauses_grow_with_what_all_pages_cost(self, of: watching.Watching) -> None:
        assert of.pause() == watching.SHORTEST_PAUSE
        for number in range(200):
            address = watching.PageAddress("", "", f"/ui/tasks/{number}", b"", Role.VIEWER)
            of._pages[address] = Watched(of, EVERYTHING)
            of._pages[address].cost = 0.01
        assert of.pause() == pytest.approx(20)
        of._pages[address].cost = 60
        assert of.pause() == watching.LONGEST_PAUSE


def event(name: str, data: dict[str, Any]) -> bytes:
    said = json.dumps(data, separators=(",", ":"))
    return f"event: {name}\ndata: {said}\n\n".encode()
