"""What changes anything below /ui/ is a form of ours: from our own page, with its form token."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import SecretStr

from tests.integration.api import browsing as pages
from tests.integration.api.browsing import HTML, OURS, PARTS, browsing, form_token, log_in
from tests.integration.api.conftest import assert_problem, calling
from tests.integration.api.test_roles import routes_of
from tests.servers import serving
from uow import Settings
from uow.api import token_file
from uow.api.app import create_app
from uow.api.forms import SAFE_METHODS
from uow.api.page_paths import LOGIN, LOGOUT, is_page
from uow.api.pages import rendering
from uow.api.roles import Role
from uow.tasks.registry import Registry

HTTPS, HTTP, HERE = "https://api.example", "http://api.example:8000", "http://localhost:8000"


@pytest.fixture
def token(tmp_path: Path) -> str:
    return token_file.add(tmp_path / "tokens", "ann", Role.ADMIN)


@pytest.fixture
def with_tokens(unconnected: Settings, tmp_path: Path, token: str) -> Settings:
    return unconnected.model_copy(update={"api_tokens_file": tmp_path / "tokens"})


@pytest.fixture
def app(with_tokens: Settings, registry: Registry) -> FastAPI:
    return create_app(with_tokens, registry, PARTS)


@pytest.fixture
def open_app(unconnected: Settings, registry: Registry) -> FastAPI:
    """Without tokens."""
    return create_app(unconnected, registry, PARTS)


@pytest.fixture(autouse=True)
def done() -> list[str]:
    pages.done.clear()
    return pages.done


ORIGINS: list[tuple[str, dict[str, str], bool]] = [
    # Over TLS, and on this machine, browsers say it so.
    (HTTPS, {"sec-fetch-site": "same-origin"}, True),
    (HTTPS, {"sec-fetch-site": "none"}, True),
    (HTTPS, {"sec-fetch-site": "same-site"}, False),
    (HTTPS, {"sec-fetch-site": "cross-site"}, False),
    (HTTPS, {"sec-fetch-site": ""}, False),
    (HTTPS, {"sec-fetch-site": "Same-Origin"}, False),
    (HTTPS, {"sec-fetch-site": "cross-site", "origin": HTTPS}, False),
    (HTTPS, {"sec-fetch-site": "same-origin", "origin": "https://api.example"}, True),
    # On plain HTTP they do not.
    (HTTP, {"origin": HTTP}, True),
    (HTTP, {"origin": "http://API.example:8000"}, True),
    ("http://api.example", {"origin": "http://api.example:80"}, True),
    (HTTPS, {"origin": HTTPS}, True),
    (HTTPS, {"origin": "http://api.example"}, False),
    (HTTP, {"origin": "https://api.example:8000"}, False),
    (HTTP, {"origin": "http://api.example"}, False),
    (HTTP, {"origin": "http://api.example:8001"}, False),
    (HTTP, {"origin": "http://evil.example:8000"}, False),
    (HTTP, {"origin": "http://api.example:8000.evil.example"}, False),
    (HTTP, {"origin": "http://evil.api.example:8000"}, False),
    (HTTP, {"origin": "null"}, False),
    (HTTP, {"origin": ""}, False),
    (HTTP, {"referer": f"{HTTP}/ui/"}, False),
    (HTTP, {}, False),
]


class TestWhereAFormComesFrom:
    @pytest.mark.parametrize(("host", "said", "let_in"), ORIGINS)
    async def test_only_a_page_of_ours_may_act(
        self, app: FastAPI, token: str, done: list[str], host: str, said: dict[str, str],
        let_in: bool,
    ) -> None:  # fmt: skip
        async with browsing(app, host) as http:
            await log_in(http, token)
            form = {"form_token": await form_token(http)}
            http.headers = httpx.Headers({**HTML, **said})
            response = await http.post("/ui/done", data=form)
        assert response.status_code == (200 if let_in else 403)
        assert done == ["ann"] * let_in

    @pytest.mark.parametrize(("host", "said", "let_in"), ORIGINS)
    async def test_only_our_own_form_logs_anybody_in(
        self, app: FastAPI, token: str, host: str, said: dict[str, str], let_in: bool
    ) -> None:
        """Else a page from elsewhere could have a browser act under a login of its maker's."""
        async with browsing(app, host, headers={**HTML, **said}) as http:
            response = await log_in(http, token)
        assert response.status_code == (303 if let_in else 403)
        assert ("set-cookie" in response.headers) == let_in

    async def test_what_a_header_says_twice_counts_for_nothing(
        self, app: FastAPI, token: str
    ) -> None:
        for twice in (
            [("sec-fetch-site", "same-origin")] * 2,
            [("origin", HTTP)] * 2,
            [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin")],
        ):
            async with browsing(app, HTTP, headers=[*HTML.items(), *twice]) as http:
                assert (await log_in(http, token)).status_code == 403

    async def test_attempts_from_elsewhere_slow_nobody(self, app: FastAPI) -> None:
        elsewhere = {**HTML, "sec-fetch-site": "cross-site"}
        async with browsing(app, headers=elsewhere) as http:
            for _ in range(20):
                assert (await log_in(http, "wrong")).status_code == 403
        async with browsing(app) as http:
            assert (await log_in(http, "wrong")).status_code == 403

    async def test_the_scheme_is_the_browsers_behind_a_trusted_proxy_only(
        self, with_tokens: Settings, registry: Registry, token: str
    ) -> None:
        """A browser that is too old for `Sec-Fetch-Site`, over TLS."""
        told = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1", "origin": HTTPS}
        for trusted, expected in ((("203.0.113.7",), 303), ((), 403)):
            settings = with_tokens.model_copy(update={"trusted_proxies": trusted})
            app = create_app(settings, registry, PARTS)
            async with browsing(app, "http://api.example", headers={**HTML, **told}) as http:
                assert (await log_in(http, token)).status_code == expected

    async def test_who_is_refused_is_told_why(self, app: FastAPI) -> None:
        async with calling(app, "203.0.113.7", base_url=HTTP) as http:
            found = assert_problem(await http.post("/ui/done"), 403)
            assert "Sec-Fetch-Site or Origin" in found["detail"]
            found = assert_problem(await http.post("/ui/done", headers={"origin": HTTPS}), 403)
            assert "WORKER_TRUSTED_PROXIES" in found["detail"]

    async def test_the_api_asks_for_none_of_it(self, app: FastAPI, token: str) -> None:
        shown = {"authorization": f"Bearer {token}", "sec-fetch-site": "cross-site"}
        async with serving(app) as http:
            response = await http.post("/tasks", json={"name": "echo"}, headers=shown)
            assert_problem(response, 422)  # let in, and told what is lacking


class TestFormToken:
    @pytest.mark.parametrize(
        "form",
        [{}, {"form_token": ""}, {"form_token": "0" * 64}, {"form_token": "é"}, {"token": "right"},
         {"form_token": ["right", "right"]}, {"form_token": "right "}],
        ids=str,
    )  # fmt: skip
    async def test_another_one_or_none_is_refused(
        self, app: FastAPI, token: str, done: list[str], form: dict[str, Any]
    ) -> None:
        async with browsing(app) as http:
            await log_in(http, token)
            right = await form_token(http)
            said = {
                key: [one.replace("right", right) for one in value]
                if isinstance(value, list)
                else value.replace("right", right)
                for key, value in form.items()
            }
            response = await http.post("/ui/done", data=said)
        assert response.status_code == 403
        assert "load the page again" in response.text
        assert done == []

    async def test_it_counts_as_a_field_of_a_form_alone(
        self, app: FastAPI, token: str, done: list[str]
    ) -> None:
        text = {"content-type": "text/plain"}
        async with browsing(app) as http:
            await log_in(http, token)
            said = {"form_token": await form_token(http)}
            sent: list[dict[str, Any]] = [
                {"json": said}, {"params": said}, {"headers": {"form_token": said["form_token"]}},
                {"data": said, "files": {"file": b"x"}},
                {"content": f"form_token={said['form_token']}", "headers": text},
            ]  # fmt: skip
            for one in sent:
                assert (await http.post("/ui/done", **one)).status_code == 403
        assert done == []

    async def test_it_is_bound_to_the_login(self, app: FastAPI, token: str) -> None:
        async with browsing(app) as first, browsing(app) as second:
            await log_in(first, token)
            await log_in(second, token)
            of_the_second = {"form_token": await form_token(second)}
            assert (await first.post("/ui/done", data=of_the_second)).status_code == 403
            assert (await second.post("/ui/done", data=of_the_second)).status_code == 200
            await log_in(second, token)
            assert (await second.post("/ui/done", data=of_the_second)).status_code == 403

    async def test_whoever_shows_a_token_needs_one_too(
        self, app: FastAPI, token: str, done: list[str]
    ) -> None:
        """A proxy that adds the token makes any page send it."""
        shown = {**OURS, "authorization": f"Bearer {token}"}
        async with browsing(app, headers=shown) as http:
            assert (await http.post("/ui/done")).status_code == 403
            of_the_token = {"form_token": await form_token(http)}
            assert (await http.post("/ui/done", data=of_the_token)).status_code == 200
            http.headers.pop("authorization")
            await log_in(http, token)
            assert (await http.post("/ui/done", data=of_the_token)).status_code == 403

    async def test_without_tokens_it_is_bound_to_the_api(
        self, open_app: FastAPI, unconnected: Settings, registry: Registry, done: list[str]
    ) -> None:
        other = create_app(unconnected, registry, PARTS)
        async with browsing(open_app, HERE, "127.0.0.1") as http:
            assert (await http.post("/ui/done")).status_code == 403
            said = {"form_token": await form_token(http)}
            http.headers["sec-fetch-site"] = "same-site"  # of another port
            assert (await http.post("/ui/done", data=said)).status_code == 403
            assert done == []
            http.headers["sec-fetch-site"] = "same-origin"
            assert (await http.post("/ui/done", data=said)).status_code == 200
        async with browsing(other, HERE, "127.0.0.1") as http:
            assert (await http.post("/ui/done", data=said)).status_code == 403
        assert done == ["this machine"]

    async def test_without_tokens_it_outlives_the_process_with_a_secret(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        secret = SecretStr("a-secret-of-thirty-two-characters")
        settings = unconnected.model_copy(update={"api_secret": secret})
        found = set()
        for _ in range(2):
            app = create_app(settings, registry, PARTS)
            async with browsing(app, HERE, "127.0.0.1") as http:
                found.add(await form_token(http))
        assert len(found) == 1


def test_every_form_in_a_template_has_the_field() -> None:
    """But that of the login, which there is nothing to bind to."""
    templates = sorted(Path(rendering.__file__).with_name("templates").glob("*.html"))
    assert templates
    for template in templates:
        forms = re.findall(r"<form[^>]*method=.?post.*?</form>", template.read_text(), re.I | re.S)
        lacking = [one for one in forms if 'name="form_token"' not in one]
        assert lacking == [] or template.name == "login.html", (template.name, lacking)


def forms_of(app: FastAPI) -> list[tuple[str, str]]:
    """The routes below /ui/ that change something, with something for each variable."""
    return sorted(
        (method, re.sub("{.*?}", "01939a1b-0000-7000-8000-000000000000", path))
        for method, path in routes_of(app)
        if is_page(path) and method not in SAFE_METHODS
    )


async def test_every_route_that_changes_anything_asks_both(
    app: FastAPI, open_app: FastAPI, token: str
) -> None:
    """Also one that nobody has thought of."""
    for one in (app, open_app):
        add_forgotten(one)
        assert {path for _, path in forms_of(one)} >= {LOGIN, LOGOUT, "/ui/done", "/ui/forgotten/1"}
    async with browsing(app) as http:
        await log_in(http, token)
        await assert_guarded(http, app)
    async with browsing(open_app, HERE, "127.0.0.1") as http:
        await assert_guarded(http, open_app)


async def assert_guarded(http: httpx.AsyncClient, app: FastAPI) -> None:
    right = {"form_token": await form_token(http)}
    elsewhere = {"sec-fetch-site": "cross-site"}
    for method, path in forms_of(app):
        foreign = await http.request(method, path, data=right, headers=elsewhere)
        assert foreign.status_code == 403, (method, path)
        assert "other sites" in foreign.text
        if path == LOGIN:
            continue
        for form in ({}, {"form_token": "wrong"}):
            response = await http.request(method, path, data=form)
            assert response.status_code == 403, (method, path)
            assert "form is of another login" in response.text


def add_forgotten(app: FastAPI) -> None:
    forgotten = APIRouter()

    async def forget(n: int) -> None:
        raise AssertionError("nobody may reach this")

    methods = ["POST", "PUT", "PATCH", "DELETE"]
    forgotten.add_api_route("/ui/forgotten/1", forget, methods=methods)
    app.include_router(forgotten)


async def test_a_websocket_below_ui_is_refused_to_other_pages(app: FastAPI, token: str) -> None:
    async with browsing(app) as http:
        cookie = (await log_in(http, token)).headers["set-cookie"].partition(";")[0]
    reached: list[str] = []

    @app.websocket("/ui/live")
    async def live() -> None:
        reached.append("here")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    headers = {
        "host": "api.example", "cookie": cookie, "origin": "https://evil.example",
        "sec-fetch-site": "cross-site",
    }  # fmt: skip
    scope = {
        "type": "websocket", "path": "/ui/live", "scheme": "wss", "client": ("203.0.113.7", 1),
        "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
        "query_string": b"",
    }  # fmt: skip
    await app(scope, receive, send)
    assert (sent, reached) == (["websocket.close"], [])
