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

_OWN_ROUTE, MOUNTED = re.findall("```python\n(.*?)```", PAGE, re.S)


def test_the_page_has_the_table_of_routes_and_roles() -> None:
    rows = re.findall(r"^\| `((?:GET|POST) /[^`]+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)
    assert dict(rows) == {route: str(role) for route, role in ROLES.items()}


async def test_the_app_of_the_page_serves_our_routes_behind_its_own_login(
    settings: Settings, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(settings).items():
        if name.startswith("WORKER_"):
            monkeypatch.setenv(name, value)
    written: dict[str, Any] = {"__name__": "documented_app"}
    exec(MOUNTED, written)
    app: FastAPI = written["app"]
    handle = await client.enqueue("math.add", a=1)
    async with serving(app) as http:
        path = f"/ops/tasks/{handle.id}"
        assert (await http.get(path)).status_code == 401
        assert (await http.get(path, headers={"x-user": "ben"})).json()["state"] == "queued"
        cancel = f"{path}/cancel"
        assert (await http.post(cancel, headers={"x-user": "ben"})).status_code == 403
        assert (await http.post(cancel, headers={"x-user": "ann"})).status_code == 204
