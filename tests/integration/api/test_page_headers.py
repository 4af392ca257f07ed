"""What pages say to browsers, the files that they share, and a prefix in front of them."""

import re

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from tests.integration.api.browsing import (
    HTML,
    OURS,
    PARTS,
    browsing,
    cookie_of,
    form_token,
    log_in,
)
from tests.integration.api.conftest import calling
from tests.servers import serving
from uow import Settings
from uow.api.app import create_app
from uow.api.page_paths import LOGIN, LOGOUT
from uow.api.pages.static_files import STATIC_FILES
from uow.tasks.registry import Registry

TOKEN = "token-of-the-setting"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
CSS = "/ui/static/site.css"


@pytest.fixture
def with_tokens(unconnected: Settings) -> Settings:
    return unconnected.model_copy(update={"api_tokens": (SecretStr(TOKEN),)})


@pytest.fixture
def app(with_tokens: Settings, registry: Registry) -> FastAPI:
    return create_app(with_tokens, registry, PARTS)


class TestHeaders:
    @pytest.mark.parametrize(
        "path", [LOGIN, "/ui/seen", "/ui/not-there", "/ui/tasks", CSS, "/ui/static/x", "/ui"]
    )
    @pytest.mark.parametrize("logged_in", [True, False])
    async def test_everything_below_ui_has_them(
        self, app: FastAPI, path: str, logged_in: bool
    ) -> None:
        async with browsing(app) as http:
            if logged_in:
                await log_in(http, TOKEN)
            for headers in (OURS, {"accept": "*/*"}):
                said = (await http.get(path, headers=headers)).headers
                assert said["content-security-policy"] == POLICY
                assert said["referrer-policy"] == "same-origin"
                assert said["x-frame-options"] == "DENY"
                assert said["cross-origin-opener-policy"] == "same-origin"
                assert said["x-content-type-options"] == "nosniff"
                assert path == CSS or said["cache-control"] == "no-store"

    async def test_so_have_answers_to_forms(self, app: FastAPI) -> None:
        async with browsing(app) as http:
            for answer in (await log_in(http, "wrong"), await log_in(http, TOKEN)):
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["content-security-policy"] == POLICY

    async def test_the_api_has_no_policy_of_pages(self, app: FastAPI) -> None:
        async with calling(app) as http:
            assert "content-security-policy" not in (await http.get("/api/tasks")).headers

    async def test_pages_have_nothing_inline(self, app: FastAPI) -> None:
        """It would not run: the policy forbids it."""
        async with browsing(app) as http:
            found = [await http.get(LOGIN), await log_in(http, "wrong")]
            await log_in(http, TOKEN)
            found.append(await http.get("/ui/not-there"))
        for page in found:
            assert not re.search(
                r"<style|\sstyle=|\son\w+=|<script(?! src=)|javascript:", page.text
            )


class TestStaticFiles:
    async def test_each_is_served_as_what_it_is(self, app: FastAPI) -> None:
        async with browsing(app) as http:
            for name, file in STATIC_FILES.items():
                response = await http.get(f"/ui/static/{name}")
                assert response.status_code == 200
                assert response.content == file.content
                assert response.headers["content-type"] == file.media_type
                assert response.headers["etag"] == f'"{file.version}"'

    async def test_browsers_keep_it_for_good_under_its_version_and_ask_again_else(
        self, app: FastAPI
    ) -> None:
        version = STATIC_FILES["site.css"].version
        async with browsing(app) as http:
            kept = (await http.get(CSS, params={"v": version})).headers["cache-control"]
            assert kept == "public, max-age=31536000, immutable"
            for path in (CSS, f"{CSS}?v=", f"{CSS}?v=old"):
                assert (await http.get(path)).headers["cache-control"] == "no-cache"
            known = await http.get(CSS, headers={"if-none-match": f'"{version}"'})
            assert (known.status_code, known.content) == (304, b"")
            assert known.headers["cache-control"] == "no-cache"
            page = (await http.get(LOGIN)).text
            assert f"{CSS}?v={version}" in page

    @pytest.mark.parametrize(
        "name",
        ["", "x.css", "../static_files.py", "..%2fstatic_files.py", "%2e%2e/static_files.py",
         "..%5cstatic_files.py", "%2fetc%2fpasswd", "/etc/passwd",
         "site.css%00", "SITE.CSS", "../templates/base.html", "..%2ftemplates%2fbase.html"],
    )  # fmt: skip
    async def test_there_are_no_others(self, app: FastAPI, name: str) -> None:
        async with serving(app) as http:
            url = httpx.URL(http.base_url, raw_path=f"/ui/static/{name}".encode())
            response = await http.get(url, headers={"accept": "*/*"}, follow_redirects=True)
            assert response.status_code in (401, 404)
            assert response.headers["cache-control"] == "no-store"
            assert b"import" not in response.content


class TestBehindAPrefix:
    """As `root_path` says, whether or not the proxy takes the prefix off."""

    @pytest.fixture(params=["/ops/worker", ""], ids=["left on", "taken off"])
    def asked(self, request: pytest.FixtureRequest) -> str:
        """What the proxy leaves of the prefix."""
        return str(request.param)

    @pytest.fixture
    def app(self, with_tokens: Settings, registry: Registry) -> FastAPI:
        settings = with_tokens.model_copy(update={"api_root_path": "/ops/worker"})
        return create_app(settings, registry, PARTS)

    async def test_logging_in_and_out_stays_behind_it(self, app: FastAPI, asked: str) -> None:
        async with browsing(app) as http:
            first = await http.get(f"{asked}/ui/seen?a=b")
            assert first.headers["location"] == "/ops/worker/ui/login?next=%2Fui%2Fseen%3Fa%3Db"
            form = await http.get(f"{asked}/ui/login?next=%2Fui%2Fseen%3Fa%3Db")
            assert 'action="/ops/worker/ui/login"' in form.text
            assert 'href="/ops/worker/ui/static/site.css?v=' in form.text
            answer = await http.post(
                f"{asked}{LOGIN}", data={"token": TOKEN, "next": "/ui/seen?a=b"}
            )
            assert answer.headers["location"] == "/ops/worker/ui/seen?a=b"
            cookie = cookie_of(answer)
            assert cookie["path"] == "/ops/worker/ui"
            shown = {"cookie": f"worker_login={cookie.value}"}
            seen = await http.get(f"{asked}/ui/seen", headers=shown)
            assert seen.json()["role"] == "admin"
            form_of_ours = {"form_token": seen.json()["form_token"]}
            refused = await http.post(f"{asked}/ui/done", headers=shown)
            assert refused.status_code == 403
            assert 'action="/ops/worker/ui/logout"' in refused.text
            done = await http.post(f"{asked}/ui/done", data=form_of_ours, headers=shown)
            assert done.status_code == 200
            out = await http.post(f"{asked}{LOGOUT}", data=form_of_ours, headers=shown)
            assert out.headers["location"] == "/ops/worker/ui/login"
            assert cookie_of(out)["path"] == "/ops/worker/ui"

    async def test_what_leads_to_the_pages_does_so_behind_it(
        self, app: FastAPI, asked: str
    ) -> None:
        async with browsing(app) as http:
            for path in ("/", ""):
                if asked + path:
                    root = await http.get(f"{asked}{path}")
                    assert root.headers["location"] == "/ops/worker/ui/"
            shown = {"authorization": f"Bearer {TOKEN}"}
            overview = await http.get(f"{asked}/ui", headers=shown)
            assert overview.headers["location"] == "/ops/worker/ui/"

    async def test_health_and_the_api_are_where_they_were(self, app: FastAPI, asked: str) -> None:
        async with calling(app, headers={"authorization": f"Bearer {TOKEN}"}) as http:
            assert (await http.get(f"{asked}/health/live")).status_code == 200
            assert (await http.get(f"{asked}/openapi.json")).status_code == 200

    async def test_the_prefix_opens_nothing(self, app: FastAPI) -> None:
        async with calling(app) as http:
            for path in ("/ops/workerui/login", "/ops/worker/ops/worker/ui/login", "/ops/ui/login"):
                assert (await http.get(path, headers=HTML)).status_code == 401


async def test_under_a_real_server_a_browser_on_plain_http_logs_in_behind_a_prefix(
    with_tokens: Settings, registry: Registry
) -> None:
    app = create_app(with_tokens.model_copy(update={"api_root_path": "/ops"}), registry, PARTS)
    async with serving(app) as http:
        http.headers = httpx.Headers({**HTML, "origin": str(http.base_url).rstrip("/")})
        http.follow_redirects = True
        form = await http.get("/ops/ui/seen?a=b")
        assert (form.status_code, form.url.path) == (200, "/ops/ui/login")
        said = {"token": TOKEN, "next": form.url.params["next"]}
        page = await http.post("/ops/ui/login", data=said)
        assert (page.status_code, page.url.raw_path) == (200, b"/ops/ui/seen?a=b")
        assert page.json()["logged_in"] == "True"


async def test_a_prefix_that_the_server_says_counts_likewise(
    with_tokens: Settings, registry: Registry
) -> None:
    """``uvicorn --root-path``."""
    app = create_app(with_tokens, registry, PARTS)

    async def under_a_prefix(scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] == "http":
            scope = {**scope, "root_path": "/ops", "path": f"/ops{scope['path']}"}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(under_a_prefix, client=("203.0.113.7", 1))
    url = "https://api.example"
    async with httpx.AsyncClient(transport=transport, base_url=url, headers=OURS) as http:
        answer = await log_in(http, TOKEN, next="/ui/seen")
        assert answer.headers["location"] == "/ops/ui/seen"
        assert cookie_of(answer)["path"] == "/ops/ui"
        assert await form_token(http, headers={"authorization": f"Bearer {TOKEN}"})
