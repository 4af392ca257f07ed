"""Who is let in: with tokens whoever has one, without them this machine alone."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, routing
from pydantic import SecretStr

from tests.integration.api.apps import api_of
from tests.integration.api.conftest import assert_problem, calling
from uow import Settings
from uow.api.page_paths import LOGIN, STATIC, is_page
from uow.tasks.registry import Registry


class TestTokens:
    SHOWN: ClassVar[dict[str, list[str]]] = {
        "none": [],
        "no token": ["Bearer"],
        "wrong": ["Bearer wrong"],
        "part of one": ["Bearer alpha-toke"],
        "both in one": ["Bearer alpha-token,bêta-tøken"],
        "other scheme": ["Basic alpha-token"],
        "no scheme": ["alpha-token"],
        "wrong, not ASCII": ["Bearer bêtä"],
        "two headers": ["Bearer alpha-token", "Bearer alpha-token"],
        "right": ["Bearer alpha-token"],
        "right, not ASCII": ["Bearer bêta-tøken"],
        "right, other case of the scheme": ["bearer  alpha-token"],
    }

    OPEN: ClassVar = {"/health/live", "/health/ready", LOGIN, f"{STATIC}{{name}}"}

    @pytest.fixture
    def app(self, unconnected: Settings, registry: Registry) -> FastAPI:
        tokens = (SecretStr("alpha-token"), SecretStr("bêta-tøken"))
        return api_of(unconnected.model_copy(update={"api_tokens": tokens}), registry)

    async def test_every_route_but_health_needs_one(
        self, api: httpx.AsyncClient, app: FastAPI
    ) -> None:
        # Newer versions have a router in them as such.
        flat: Callable[[Any], Iterable[Any]] = getattr(routing, "iter_route_contexts", iter)
        routes = [
            (method, str(context.path))
            for context in flat(app.routes)
            for method in sorted(context.methods or ())
        ]
        assert {path for _, path in routes if not is_page(path)} == {
            "/", "/openapi.json", "/health/live", "/health/ready", "/tasks", "/tasks/{task_id}",
            "/tasks/{task_id}/cancel", "/tasks/{task_id}/retry", "/tasks/retry",
            "/api/tasks/{task_id}/why", "/api/workers",
            "/users", "/users/{user_id}", "/api/tasks", "/api/tasks/{task_id}",
            "/api/queues", "/api/names", "/api/users", "/api/users/{user_id:path}", "/api/errors",
            "/api/stats",
            "/api/pauses", "/api/everything/pause", "/api/everything/resume",
            *(f"/api/{of}:path}}/{act}" for of in ("queues/{queue", "names/{name", "users/{user")
              for act in ("pause", "resume")),
            "/api/schedules", "/api/servers", "/api/events",
            "/api/tasks/{task_id}/cancel", "/api/tasks/{task_id}/retry",
            "/api/tasks/{task_id}/run-now", "/api/tasks/{task_id}/priority",
            "/api/bulk", "/api/bulk/preview", "/api/bulk/{bulk_id}", "/api/bulk/{bulk_id}/stop",
            "/api/audit", "/api/prune",
        }  # fmt: skip
        for method, path in [*routes, ("GET", "/not/there"), ("GET", "/health/live/")]:
            for shown in self.SHOWN:
                let_in = await self.lets_in(api, method, path, shown)
                expected = shown.startswith("right") or path in self.OPEN
                assert let_in == expected, (method, path, shown)

    async def lets_in(self, api: httpx.AsyncClient, method: str, path: str, shown: str) -> bool:
        headers = [(b"authorization", value.encode()) for value in self.SHOWN[shown]]
        headers.append((b"sec-fetch-site", b"same-origin"))  # pages ask that before anything else
        path = path.replace(":path}", "}")
        path = path.format(
            task_id=uuid4(), bulk_id=uuid4(), user_id=1, queue="q", name="n", user="u", act="run"
        )
        response = await api.request(method, path, headers=headers)
        if response.status_code == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert method == "HEAD" or assert_problem(response, 401)
        return response.status_code != 401

    async def test_nothing_is_read_from_whoever_has_none(self, api: httpx.AsyncClient) -> None:
        assert_problem(await api.post("/tasks", content=b"x" * 5_000_000), 401)

    async def test_any_host_and_any_client_may_come_with_one(self, app: FastAPI) -> None:
        headers = {"authorization": "Bearer alpha-token", "origin": "https://app.example"}
        async with calling(
            app, "203.0.113.7", base_url="https://api.example", headers=headers
        ) as http:
            assert (await http.get("/openapi.json")).status_code == 200

    async def test_an_empty_token_is_none(self, unconnected: Settings, registry: Registry) -> None:
        tokens = (SecretStr(""),)
        app = api_of(unconnected.model_copy(update={"api_tokens": tokens}), registry)
        async with calling(app) as http:
            for shown in ("Bearer", "Bearer ", "Bearer  "):
                response = await http.get("/openapi.json", headers={"authorization": shown})
                assert_problem(response, 401)

    async def test_the_schema_says_so(self, app: FastAPI) -> None:
        schema = app.openapi()
        assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
        assert schema["paths"]["/tasks"]["post"]["security"] == [{"HTTPBearer": []}]
        assert "security" not in schema["paths"]["/health/live"]["get"]

    async def test_a_websocket_is_refused_too(self, app: FastAPI) -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        scope = {"type": "websocket", "path": "/", "headers": [], "client": ("127.0.0.1", 1)}
        await app(scope, receive, send)
        assert [message["type"] for message in sent] == ["websocket.close"]


class TestWithoutTokens:
    """This machine alone, even if somebody serves the app with another server."""

    @pytest.fixture
    def app(self, unconnected: Settings, registry: Registry) -> FastAPI:
        return api_of(unconnected, registry)

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
    async def test_this_machine_is_let_in(self, app: FastAPI, address: str) -> None:
        async with calling(app, address) as http:
            assert (await http.get("/openapi.json")).status_code == 200

    @pytest.mark.parametrize(
        "address",
        ["203.0.113.7", "10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "unix", "", None],
    )
    async def test_other_machines_are_refused(self, app: FastAPI, address: str | None) -> None:
        async with calling(app, address) as http:
            found = assert_problem(await http.get("/openapi.json"), 403)
            assert "WORKER_API_TOKENS" in found["detail"]
            assert (await http.get("/health/live")).status_code == 200

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("localhost", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:80", 200), ("[::1]:8000", 200),
            ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403),
            ("localhost@evil.example", 403), ("evil.example:127.0.0.1", 403), ("10.0.0.1", 403),
            ("", 403), ("[::1", 403), ("2130706433", 403),
        ],
    )  # fmt: skip
    async def test_only_a_loopback_host_is_let_in(
        self, app: FastAPI, host: str, status: int
    ) -> None:
        """Against a page under a name that resolves to 127.0.0.1 (DNS rebinding)."""
        async with calling(app, headers={"host": host}) as http:
            assert (await http.get("/openapi.json")).status_code == status

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            ("http://localhost:3000", 200), ("http://127.0.0.1", 200), ("http://[::1]:80", 200),
            ("https://evil.example", 403), ("http://localhost.evil.example", 403), ("null", 403),
            ("", 403),
        ],
    )  # fmt: skip
    async def test_only_pages_of_this_machine_are_let_in(
        self, app: FastAPI, origin: str, status: int
    ) -> None:
        async with calling(app, headers={"origin": origin}) as http:
            assert (await http.get("/openapi.json")).status_code == status

    async def test_under_a_real_server_too(self, api: httpx.AsyncClient) -> None:
        assert (await api.get("/docs")).status_code == 200
        assert_problem(await api.get("/docs", headers={"host": "evil.example"}), 403)
