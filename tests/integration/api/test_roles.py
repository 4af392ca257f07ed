"""Which role may call which route: the table, generated from the app's own routes."""

import asyncio
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import APIRouter, FastAPI, routing
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.requests import Request

from tests.integration.api.apps import api_of
from tests.integration.api.browsing import OURS, form_token
from tests.integration.api.conftest import assert_problem, calling
from tests.servers import serving
from uow import Settings
from uow.api import event_stream, token_file
from uow.api.access import CallerDep, RevealDep
from uow.api.app import create_app
from uow.api.failed_logins import FREE_FAILURES
from uow.api.forms import SAFE_METHODS
from uow.api.page_paths import LOGIN, LOGOUT, is_page
from uow.api.pages.site import OPEN_PAGES, PAGE_ROLES
from uow.api.roles import Role
from uow.api.routes import API_ROLES, ROLES, ROUTERS
from uow.app import AppParts
from uow.tasks.registry import Registry

E, V, O, A = Role.ENQUEUER, Role.VIEWER, Role.OPERATOR, Role.ADMIN  # noqa: E741

MAY_CALL = {E: {E, O, A}, V: {V, O, A}, O: {O, A}, A: {A}}
"""By the role that a route needs, the roles that it lets in."""

theirs = APIRouter()


@theirs.get("/theirs")
async def of_the_application() -> None: ...


@theirs.get("/revealed")
async def revealed(reveal: RevealDep) -> bool:
    return reveal


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def tokens(file: Path) -> dict[Role, str]:
    return {role: token_file.add(file, f"an-{role}", role) for role in Role}


@pytest.fixture
def with_tokens(unconnected: Settings, file: Path, tokens: dict[Role, str]) -> Settings:
    update = {"api_tokens_file": file, "api_tokens": (SecretStr("token-of-the-setting"),)}
    return unconnected.model_copy(update=update)


@pytest.fixture
def app(with_tokens: Settings, registry: Registry) -> FastAPI:
    pages = "tests.integration.api.browsing:some_pages"
    parts = AppParts(routers=["tests.integration.api.test_roles:theirs", pages])
    return create_app(with_tokens, registry, parts)


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    # Newer versions have a router in them as such.
    flat: Callable[[Any], Iterable[Any]] = getattr(routing, "iter_route_contexts", iter)
    return {
        (method, str(route.path)) for route in flat(app.routes) for method in route.methods or ()
    }


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def status(http: httpx.AsyncClient, method: str, path: str, token: str) -> int:
    path = re.sub(r"{\w+?_id}", str(uuid4()), path.replace("{user_id}", "1"))
    path = re.sub("{.*?}", "x", path)
    options: dict[str, Any] = {"headers": bearer(token)}
    if is_page(path) and method not in SAFE_METHODS:
        options["headers"] |= OURS
        options["data"] = {"form_token": await form_token(http, headers=bearer(token))}
    return (await http.request(method, path, **options)).status_code


THEIRS = {"/openapi.json", "/health/live", "/health/ready", "/theirs", "/revealed", "/ui/seen",
          "/ui/done"}  # fmt: skip
OPEN = {"/", "/ui", LOGIN, LOGOUT, "/ui/static/{name}"}
ANY_ROLE = {*THEIRS, *OPEN}


def test_every_route_of_ours_has_a_role_and_every_line_a_route(app: FastAPI) -> None:
    assert {*API_ROLES.declared.values()} == ROLES.keys()
    served = {f"{method} {path}" for method, path in routes_of(app) if path not in ANY_ROLE}
    assert served == {*ROLES, *PAGE_ROLES}


def test_pages_are_open_to_any_role_only_where_there_is_nothing_to_see() -> None:
    routes = [one for router in OPEN_PAGES for one in router.routes if isinstance(one, APIRoute)]
    assert {f"{method} {one.path}" for one in routes for method in one.methods or ()} == {
        "GET /", "GET /ui", f"GET {LOGIN}", f"POST {LOGIN}", f"POST {LOGOUT}",
        "GET /ui/static/{name}",
    }  # fmt: skip


async def test_each_route_lets_in_the_roles_that_include_its_own_and_no_other(
    api: httpx.AsyncClient, app: FastAPI, tokens: dict[Role, str]
) -> None:
    for method, path in sorted(routes_of(app) - {("POST", LOGIN)}):
        for role, token in tokens.items():
            found = await status(api, method, path, token)
            needed = {**ROLES, **PAGE_ROLES}.get(f"{method} {path}")
            expected = path in ANY_ROLE or (needed is not None and role in MAY_CALL[needed])
            assert (found != 403) == expected, (method, path, role, found)
            assert found not in (401, 429)


async def test_a_token_of_the_setting_may_do_everything(
    api: httpx.AsyncClient, app: FastAPI
) -> None:
    for method, path in sorted(routes_of(app) - {("POST", LOGIN)}):
        assert await status(api, method, path, "token-of-the-setting") not in (401, 403, 429)


async def test_who_may_not_is_told_what_is_lacking(
    api: httpx.AsyncClient, tokens: dict[Role, str]
) -> None:
    response = await api.post("/tasks", json={"name": "math.fail"}, headers=bearer(tokens[V]))
    found = assert_problem(response, 403)
    assert found["detail"] == "this needs the role enqueuer, and an-viewer is a viewer"


async def test_a_route_that_nobody_has_thought_of_needs_an_admin(
    api: httpx.AsyncClient, app: FastAPI, tokens: dict[Role, str]
) -> None:
    forgotten = APIRouter(prefix="/api")
    reached = []

    @forgotten.get("/forgotten")
    @forgotten.post("/forgotten")
    async def reach(request: Request) -> None:
        reached.append(request.state.role)

    app.include_router(forgotten)
    for method in ("GET", "POST"):
        found = {role: await status(api, method, "/api/forgotten", tokens[role]) for role in Role}
        assert found == {E: 403, V: 403, O: 403, A: 200}
    assert reached == [A, A]


async def test_a_route_knows_who_calls(app: FastAPI, tokens: dict[Role, str]) -> None:
    @app.get("/who")
    async def who(request: Request, caller: CallerDep) -> list[str]:
        return [request.state.actor_name, request.state.role, caller.name, caller.role]

    async with calling(app) as http:
        for token, name in ((tokens[A], "an-admin"), ("token-of-the-setting", "WORKER_API_TOKENS")):
            response = await http.get("/who", headers=bearer(token))
            assert response.json() == [name, "admin"] * 2


async def test_without_tokens_this_machine_is_an_admin(
    unconnected: Settings, registry: Registry
) -> None:
    app = api_of(unconnected, registry)

    @app.get("/who")
    async def who(caller: CallerDep) -> list[str]:
        return [caller.name, caller.role]

    async with calling(app) as http:
        assert (await http.get("/who")).json() == ["this machine", "admin"]
        for header in ("x-forwarded-for", "forwarded", "x-real-ip"):
            found = assert_problem(await http.get("/who", headers={header: "127.0.0.1"}), 403)
            assert "a proxy" in found["detail"]


async def test_only_an_admin_reveals_what_is_redacted(
    app: FastAPI, tokens: dict[Role, str]
) -> None:
    async with calling(app) as http:
        for role, token in tokens.items():
            hidden = await http.get("/revealed", headers=bearer(token))
            shown = await http.get("/revealed?reveal=true", headers=bearer(token))
            assert (hidden.status_code, hidden.json()) == (200, False)
            assert shown.status_code == (200 if role is A else 403)
            assert role is not A or shown.json() is True


async def test_a_file_alone_closes_the_api(
    unconnected: Settings, registry: Registry, file: Path, tokens: dict[Role, str]
) -> None:
    settings = unconnected.model_copy(update={"api_tokens_file": file})
    file.write_text("")
    async with calling(api_of(settings, registry), "127.0.0.1") as http:
        assert_problem(await http.get("/openapi.json"), 401)
        assert_problem(await http.get("/docs", headers=bearer(tokens[A])), 401)


async def test_who_is_revoked_is_refused_by_an_api_that_runs(
    api: httpx.AsyncClient, file: Path, tokens: dict[Role, str]
) -> None:
    assert (await api.get("/openapi.json", headers=bearer(tokens[V]))).status_code == 200
    token_file.remove(file, "an-viewer")
    assert_problem(await api.get("/openapi.json", headers=bearer(tokens[V])), 401)


@pytest.mark.parametrize("other", [None, Role.ENQUEUER])
async def test_a_stream_ends_with_its_token_and_with_the_role_of_that(
    settings: Settings,
    registry: Registry,
    file: Path,
    tokens: dict[Role, str],
    monkeypatch: pytest.MonkeyPatch,
    other: Role | None,
) -> None:
    monkeypatch.setattr(event_stream, "CHECK_SECONDS", 0.05)
    api = api_of(settings.model_copy(update={"api_tokens_file": file}), registry)
    async with (
        serving(api) as http,
        http.stream("GET", "/api/events", headers=bearer(tokens[V])) as response,
        asyncio.timeout(10),
    ):
        chunks = response.aiter_bytes()
        assert b"snapshot" in await anext(chunks)
        token_file.remove(file, "an-viewer")
        if other is not None:
            line = f"an-viewer {other} {token_file.digest(tokens[V].encode()).hex()}\n"
            file.write_text(file.read_text() + line)
        assert [one async for one in chunks if b"settled" in one] == []


class TestWrongTokens:
    WRONG = bearer("wrong")

    async def test_they_are_slowed_and_a_right_one_is_not(
        self, api: httpx.AsyncClient, tokens: dict[Role, str]
    ) -> None:
        answers = [await api.get("/theirs", headers=self.WRONG) for _ in range(FREE_FAILURES + 5)]
        assert [one.status_code for one in answers[: FREE_FAILURES - 1]] == [401] * 9
        for refused in answers[FREE_FAILURES:]:
            assert_problem(refused, 429)
            assert int(refused.headers["retry-after"]) >= 1
        assert (await api.get("/theirs", headers=bearer(tokens[E]))).status_code == 200
        assert_problem(await api.get("/theirs", headers=self.WRONG), 401)

    async def test_whoever_shows_none_is_not_counted(self, api: httpx.AsyncClient) -> None:
        for _ in range(3 * FREE_FAILURES):
            assert_problem(await api.get("/theirs"), 401)

    async def test_the_address_is_the_clients_behind_a_trusted_proxy_only(
        self, with_tokens: Settings, registry: Registry
    ) -> None:
        for trusted, expected in (((), 429), (("127.0.0.0/8",), 401)):
            settings = with_tokens.model_copy(update={"trusted_proxies": trusted})
            async with calling(api_of(settings, registry)) as http:
                for n in range(FREE_FAILURES + 1):
                    headers = {**self.WRONG, "x-forwarded-for": f"203.0.113.{n}"}
                    response = await http.get("/openapi.json", headers=headers)
                assert response.status_code == expected


def test_no_router_of_ours_is_served_twice() -> None:
    assert len({*map(id, ROUTERS)}) == len(ROUTERS)
