"""docs/http-api.md says what is so: its table, and its examples as they stand there."""

import re
from typing import Any

import pytest
from fastapi import FastAPI

from tests.processes import ROOT, environment_of
from tests.servers import serving
from uow import Settings, TaskClient
from uow.api.routes import ROLES

PAGE = (ROOT / "docs" / "http-api.md").read_text()

_OWN_ROUTE, MOUNTED, LINKS = re.findall("```python\n(.*?)```", PAGE, re.S)


def test_the_page_has_the_table_of_routes_and_roles() -> None:
    rows = re.findall(r"^\| `((?:GET|POST|DELETE) /[^`]+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)
    assert dict(rows) == {route: str(role) for route, role in ROLES.items()}


async def test_the_app_of_the_page_serves_our_routes_behind_its_own_login(
    settings: Settings, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = written(MOUNTED, settings, monkeypatch)
    handle = await client.enqueue("math.add", a=1)
    async with serving(app) as http:
        path = f"/ops/tasks/{handle.id}"
        assert (await http.get(path)).status_code == 401
        assert (await http.get(path, headers={"x-user": "ben"})).json()["state"] == "queued"
        cancel = f"{path}/cancel"
        assert (await http.post(cancel, headers={"x-user": "ben"})).status_code == 403
        assert (await http.post(cancel, headers={"x-user": "ann"})).status_code == 204


async def test_a_link_of_the_page_leads_to_the_events_of_the_task(
    settings: Settings, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_API_SECRET", "s" * 32)
    app = written(LINKS, settings, monkeypatch)
    handle = await client.enqueue("math.add", a=1)
    async with serving(app) as http:
        link = (await http.get(f"/exports/{handle.id}/link")).json()
        async with http.stream("GET", link) as response:
            lines = response.aiter_lines()
            while not (line := await anext(lines)).startswith("data: "):
                pass
    assert str(handle.id) in line


def written(code: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The app of an example, with the settings in the environment."""
    for name, value in environment_of(settings).items():
        if name.startswith("WORKER_"):
            monkeypatch.setenv(name, value)
    module: dict[str, Any] = {"__name__": "documented_app"}
    exec(code, module)
    app: FastAPI = module["app"]
    return app
