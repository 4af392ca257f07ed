"""Our routes in an app of somebody else's, behind their own dependencies and under a prefix."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse

import uow.api
from tests.conftest import Drain
from tests.integration.api.conftest import DEAD_POSTGRES
from tests.servers import serving
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.api.access import get_caller
from uow.api.routes import ROLES
from uow.tasks.registry import Registry, default_registry


async def signed_in(authorization: Annotated[str, Header()] = "") -> str:
    if authorization not in ("ann", "ben"):
        raise HTTPException(401, "sign in first")
    return authorization


async def role_of(user: Annotated[str, Depends(signed_in)]) -> str:
    return "operator" if user == "ann" else "viewer"


ANN, BEN = {"authorization": "ann"}, {"authorization": "ben"}


@pytest.fixture
def names() -> Any:
    """Functions that are imported are known: there is no registry in their app's state."""
    before = dict(default_registry._functions)
    yield
    default_registry._functions.clear()
    default_registry._functions.update(before)


@pytest.fixture
def app(settings: Settings, registry: Registry) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            Database.from_settings(settings.require_database()) as app.state.db,
            TaskClient.from_settings(settings, db=app.state.db) as app.state.client,
        ):
            app.state.registry = registry
            yield

    app = FastAPI(lifespan=lifespan)
    seen: list[str] = []
    app.state.seen = seen

    async def look(
        request: Request, user: Annotated[str, Depends(signed_in)]
    ) -> AsyncIterator[None]:
        yield
        caller = await get_caller(request)
        seen.append(f"{caller.name} {caller.role}")

    app.include_router(
        uow.api.router(
            dependencies=[Depends(signed_in), Depends(look)], role=role_of, actor=signed_in
        ),
        prefix="/ops/worker",
    )
    return app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(app) as http:
        yield http


async def test_a_task_is_enqueued_and_seen_under_their_prefix(
    http: httpx.AsyncClient, app: FastAPI, drain: Drain
) -> None:
    body = {"name": "math.add", "args": {"a": 1, "b": 2}}
    response = await http.post("/ops/worker/tasks", json=body, headers=ANN)
    assert response.status_code == 202
    assert response.headers["location"] == f"/ops/worker/tasks/{response.json()['id']}"
    await drain()
    found = (await http.get(response.headers["location"], headers=BEN)).json()
    assert (found["state"], found["result"]) == ("succeeded", 3)
    assert app.state.seen == ["ann operator", "ben viewer"]


async def test_their_dependencies_decide_who_is_let_in(http: httpx.AsyncClient) -> None:
    response = await http.post("/ops/worker/tasks", json={"name": "math.add"})
    assert (response.status_code, response.json()) == (401, {"detail": "sign in first"})


async def test_their_role_decides_what_one_may_do(http: httpx.AsyncClient) -> None:
    response = await http.post("/ops/worker/tasks", json={"name": "math.fail"}, headers=BEN)
    assert response.status_code == 403
    assert response.json()["detail"] == "this needs the role enqueuer, and ben is a viewer"


async def test_all_routes_are_there_and_nothing_else(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    there = {f"{method.upper()} {path}" for path in paths for method in paths[path]}
    ours = {one.replace(" /", " /ops/worker/", 1).replace(":path}", "}") for one in ROLES}
    assert there == ours


async def test_our_errors_are_answered_by_their_handlers(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def answer(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"theirs": error.detail}, error.status_code)

    async with serving(app) as http:
        response = await http.post("/ops/worker/tasks", json={"name": "math.ad"}, headers=ANN)
        missing = await http.post(f"/ops/worker/tasks/{'0' * 32}/cancel", headers=ANN)
    assert response.status_code == 422
    assert response.json() == {
        "theirs": "no task function is called math.ad; did you mean math.add?"
    }
    assert missing.status_code == 404


async def test_a_server_that_is_away_is_503_and_a_bug_stays_theirs(
    unconnected: Settings, registry: Registry
) -> None:
    app = FastAPI()
    app.state.registry = registry
    app.include_router(uow.api.router(dependencies=[], role="admin"))
    async with (
        Database(DEAD_POSTGRES.get_secret_value()) as app.state.db,
        TaskClient.from_settings(unconnected, db=app.state.db) as app.state.client,
        serving(app) as http,
    ):
        response = await http.get(f"/tasks/{'0' * 32}")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        del app.state.db
        assert (await http.post("/tasks", json={"name": "math.fail"})).status_code == 500


async def test_without_a_registry_what_is_imported_is_known(
    http: httpx.AsyncClient, app: FastAPI, names: None
) -> None:
    @task("theirs.own", queue="arq:theirs")
    async def own(ctx: TaskContext) -> None: ...

    del app.state.registry
    for queue, expected in (("arq:theirs", 202), ("arq:queue", 202), ("arq:other", 422)):
        body = {"name": "theirs.own", "queue": queue}
        response = await http.post("/ops/worker/tasks", json=body, headers=ANN)
        assert response.status_code == expected, response.text


@pytest.mark.parametrize("role", ["root", ""])
def test_a_role_that_there_is_not_is_refused_when_the_app_is_made(role: str) -> None:
    with pytest.raises(ValueError, match="Role"):
        uow.api.router(dependencies=[], role=role)
