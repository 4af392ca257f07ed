"""Logging in: a browser has shown a token once, and its cookie stands for the token's line."""

import base64
import hashlib
import json
import logging
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from tests.integration.api.browsing import (
    HTML,
    OURS,
    PARTS,
    alert,
    browsing,
    cookie_of,
    form_token,
    log_in,
    with_cookie,
)
from tests.integration.api.conftest import assert_problem, calling
from uow import Settings
from uow.api import token_file
from uow.api.app import create_app
from uow.api.failed_logins import FREE_FAILURES
from uow.api.logins import COOKIE, LONGEST, SECONDS, Logins
from uow.api.page_paths import LOGIN, LOGOUT, OVERVIEW
from uow.api.roles import Role
from uow.api.tokens import KnownTokens
from uow.tasks.registry import Registry

SECRET = SecretStr("a-secret-of-thirty-two-characters")
OF_SETTINGS = "token-of-the-setting"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def token(file: Path) -> str:
    """Of `ann`, a viewer; `ben` is an operator."""
    token_file.add(file, "ben", Role.OPERATOR)
    return token_file.add(file, "ann", Role.VIEWER)


@pytest.fixture
def with_tokens(unconnected: Settings, file: Path, token: str) -> Settings:
    update = {
        "api_tokens_file": file, "api_tokens": (SecretStr(OF_SETTINGS),), "api_secret": SECRET,
    }  # fmt: skip
    return unconnected.model_copy(update=update)


@pytest.fixture
def app(with_tokens: Settings, registry: Registry) -> FastAPI:
    return create_app(with_tokens, registry, PARTS)


def logins(file: Path, secret: SecretStr | None = SECRET, at: float | None = None) -> Logins:
    """As another process has them."""
    clock = time if at is None else lambda: at
    return Logins(KnownTokens([SecretStr(OF_SETTINGS)], file), secret, clock)


async def sees(http: httpx.AsyncClient, cookie: str) -> int:
    """What the cookie gets: 200, or the 303 to the login."""
    http.cookies.clear()
    return (await http.get("/ui/seen", headers=with_cookie(cookie))).status_code


class TestLoggingIn:
    async def test_whoever_shows_a_token_has_a_cookie_and_sees_the_page_that_was_asked_for(
        self, app: FastAPI, token: str
    ) -> None:
        async with browsing(app) as http:
            first = await http.get("/ui/seen?state=failed&name=a%20b")
            assert first.status_code == 303
            form = await http.get(first.headers["location"])
            assert form.status_code == 200
            assert 'value="/ui/seen?state=failed&amp;name=a%20b"' in form.text
            answer = await log_in(http, token, next="/ui/seen?state=failed&name=a%20b")
            assert answer.status_code == 303
            assert answer.headers["location"] == "/ui/seen?state=failed&name=a%20b"
            found = (await http.get(answer.headers["location"])).json()
            assert (found["name"], found["role"], found["logged_in"]) == ("ann", "viewer", "True")

    @pytest.mark.parametrize(
        "wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "/ui/%0d%0ax", "x"]
    )
    async def test_it_leads_on_to_no_other_site(
        self, app: FastAPI, token: str, wanted: str
    ) -> None:
        async with browsing(app) as http:
            form = await http.get(LOGIN, params={"next": wanted})
            assert f'name="next" value="{OVERVIEW}"' in form.text
            wrong = await log_in(http, "wrong", next=wanted)
            assert f'name="next" value="{OVERVIEW}"' in wrong.text
            answer = await log_in(http, token, next=wanted)
        assert (answer.status_code, answer.headers["location"]) == (303, OVERVIEW)

    async def test_the_form_is_one_for_password_managers_and_screen_readers(
        self, app: FastAPI
    ) -> None:
        async with browsing(app) as http:
            text = (await http.get(LOGIN)).text
        assert 'type="password"' in text
        assert 'autocomplete="current-password"' in text
        assert "autofocus" in text
        assert '<label for="token">' in text
        assert 'role="alert"' not in text

    async def test_a_token_of_the_setting_logs_in_as_well(self, app: FastAPI) -> None:
        async with browsing(app) as http:
            await log_in(http, f" {OF_SETTINGS}\n")
            assert (await http.get("/ui/seen")).json()["role"] == "admin"

    async def test_the_cookie_is_for_the_pages_alone_and_for_no_script(
        self, app: FastAPI, token: str
    ) -> None:
        async with browsing(app) as http:
            response = await log_in(http, token)
        cookie = cookie_of(response)
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/ui", True, "lax")
        assert int(cookie["max-age"]) == SECONDS == 12 * 3600
        left = parsedate_to_datetime(cookie["expires"]).timestamp() - time()
        assert abs(left - SECONDS) < 60
        assert cookie["domain"] == ""

    @pytest.mark.parametrize(
        ("host", "proto", "trusted", "secure"),
        [
            ("http://api.example", None, (), False),
            ("https://api.example", None, (), True),
            ("http://api.example", "https", ("203.0.113.7",), True),
            ("https://api.example", "http", ("203.0.113.7",), False),
            ("http://api.example", "https", (), False),
        ],
    )
    async def test_the_cookie_is_secure_where_the_browser_has_tls(
        self, with_tokens: Settings, registry: Registry, token: str, host: str,
        proto: str | None, trusted: tuple[str, ...], secure: bool,
    ) -> None:  # fmt: skip
        settings = with_tokens.model_copy(update={"trusted_proxies": trusted})
        told = {} if proto is None else {"x-forwarded-proto": proto, "x-forwarded-for": "192.0.2.1"}
        async with browsing(create_app(settings, registry, PARTS), host) as http:
            response = await http.post(LOGIN, data={"token": token}, headers=told)
        assert bool(cookie_of(response)["secure"]) == secure

    async def test_neither_the_token_nor_its_hash_is_in_the_cookie(
        self, app: FastAPI, token: str
    ) -> None:
        async with browsing(app) as http:
            value = cookie_of(await log_in(http, token)).value
        said = value + base64.urlsafe_b64decode(value.partition(".")[0] + "===").decode()
        digest = hashlib.sha256(token.encode())
        assert len(value) < LONGEST
        for hidden in (token, digest.hexdigest(), base64.b64encode(digest.digest()).decode()):
            assert hidden[:12] not in said

    async def test_the_log_says_who_and_from_where_and_never_with_what(
        self, app: FastAPI, token: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "uow")
        async with browsing(app) as http:
            await log_in(http, "wrong-token-of-somebody")
            value = cookie_of(await log_in(http, token)).value
        assert "ann has logged in from 203.0.113.7" in caplog.text
        for hidden in (token, value, "wrong-token-of-somebody"):
            assert hidden not in caplog.text


class TestWrongTokens:
    @pytest.mark.parametrize("shown", ["", "wrong", "bêtä", "\x00", "a" * 10_000])
    async def test_a_wrong_one_is_told_on_the_form(self, app: FastAPI, shown: str) -> None:
        async with browsing(app) as http:
            response = await log_in(http, shown, next="/ui/tasks")
        assert response.status_code == 403
        assert "set-cookie" not in response.headers
        assert "not known" in alert(response)
        assert 'name="next" value="/ui/tasks"' in response.text
        assert shown == "" or shown not in response.text

    async def test_they_are_slowed_together_with_those_of_the_api_and_a_right_one_is_not(
        self, app: FastAPI, token: str
    ) -> None:
        wrong = {"authorization": "Bearer wrong"}
        async with browsing(app) as http:
            for n in range(FREE_FAILURES):
                answer = await (
                    http.get("/api/tasks", headers=wrong) if n % 2 else log_in(http, "no")
                )
            slowed = await log_in(http, "no")
            assert slowed.status_code == 429
            assert int(slowed.headers["retry-after"]) >= 1
            assert slowed.headers["content-type"].startswith("text/html")
            assert "try again in" in alert(slowed)
            assert_problem(await http.get("/api/tasks", headers=wrong), 429)
            assert (await log_in(http, token)).status_code == 303
            answer = await log_in(http, "no")
            assert answer.status_code == 403

    async def test_addresses_are_slowed_apart(self, app: FastAPI) -> None:
        async with browsing(app) as http:
            for _ in range(FREE_FAILURES + 1):
                slowed = await log_in(http, "no")
        assert slowed.status_code == 429
        async with browsing(app, address="203.0.113.8") as http:
            assert (await log_in(http, "no")).status_code == 403


class TestCookies:
    """What a login is bound to."""

    @pytest.fixture
    async def cookie(self, app: FastAPI, token: str) -> str:
        async with browsing(app) as http:
            return cookie_of(await log_in(http, token)).value

    def test_no_two_logins_have_the_same(self, file: Path, token: str) -> None:
        ours = logins(file, at=1e9)
        line = KnownTokens([], file).named("ann")[0]
        assert ours.begin(line) != ours.begin(line)

    async def test_it_outlives_the_process_with_the_secret(
        self, with_tokens: Settings, registry: Registry, cookie: str
    ) -> None:
        async with browsing(create_app(with_tokens, registry, PARTS)) as http:
            assert await sees(http, cookie) == 200

    async def test_it_ends_with_the_process_without_a_secret_and_the_log_says_so(
        self, with_tokens: Settings, registry: Registry, token: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        settings = with_tokens.model_copy(update={"api_secret": None})
        first, second = (create_app(settings, registry, PARTS) for _ in range(2))
        async with browsing(first) as http:
            value = cookie_of(await log_in(http, token)).value
            assert await sees(http, value) == 200
        async with browsing(second) as http:
            assert await sees(http, value) == 303
        caplog.set_level(logging.INFO, "uow")
        async with first.router.lifespan_context(first):
            pass
        told = [one for one in caplog.messages if "WORKER_API_SECRET is not set" in one]
        assert len(told) == 1

    async def test_another_secret_makes_another_signature(
        self, app: FastAPI, file: Path, token: str
    ) -> None:
        line = KnownTokens([], file).named("ann")[0]
        other = SecretStr("another-secret-of-thirty-two-characters")
        async with browsing(app) as http:
            assert await sees(http, logins(file).begin(line)) == 200
            assert await sees(http, logins(file, other).begin(line)) == 303
            assert await sees(http, logins(file, None).begin(line)) == 303

    async def test_it_expires(self, app: FastAPI, file: Path, token: str) -> None:
        line, now = KnownTokens([], file).named("ann")[0], time()
        async with browsing(app) as http:
            assert await sees(http, logins(file, at=now - SECONDS + 60).begin(line)) == 200
            assert await sees(http, logins(file, at=now - SECONDS - 1).begin(line)) == 303

    @pytest.mark.parametrize("change", ["name", "until", "nonce", "signature", "none", "of ben"])
    async def test_one_that_was_changed_is_worth_nothing(
        self, app: FastAPI, file: Path, cookie: str, change: str
    ) -> None:
        said, _, signature = cookie.partition(".")
        name, until, nonce = json.loads(base64.urlsafe_b64decode(said + "==="))
        if change == "of ben":  # a signature of ours, of another line
            ben = KnownTokens([], file).named("ben")[0]
            signature = logins(file).begin(ben).partition(".")[2]
        changed = [
            "ben" if change == "name" else name,
            until + 1 if change == "until" else until,
            nonce[::-1] if change == "nonce" else nonce,
        ]
        if change == "signature":
            signature = ("0" if signature[0] != "0" else "1") + signature[1:]
        if change == "none":
            signature = ""
        forged = base64.urlsafe_b64encode(json.dumps(changed, separators=(",", ":")).encode())
        async with browsing(app) as http:
            assert await sees(http, cookie) == 200
            assert await sees(http, f"{forged.decode().rstrip('=')}.{signature}") == 303

    @pytest.mark.parametrize(
        "value",
        ["", ".", "x", "a.b", "=.=", "bnVsbA.0", "W10.0", "WyJhbm4iLG51bGwsMV0.0", "é.é", "[" * 400,
         "W1tbW1tbW1tb" * 30 + ".0", "a" * 5000],
    )  # fmt: skip
    async def test_whatever_else_is_shown_is_no_login_and_no_error(
        self, app: FastAPI, value: str
    ) -> None:
        async with calling(app, headers=OURS) as http:
            header = [(b"cookie", f"{COOKIE}={value}".encode("latin-1"))]
            response = await http.get("/ui/seen", headers=[*header, (b"accept", b"text/html")])
        assert response.status_code == 303

    async def test_it_ends_when_the_token_is_revoked(
        self, app: FastAPI, file: Path, cookie: str
    ) -> None:
        async with browsing(app) as http:
            assert await sees(http, cookie) == 200
            token_file.remove(file, "ann")
            assert await sees(http, cookie) == 303

    async def test_it_ends_when_another_token_has_the_name(
        self, app: FastAPI, file: Path, cookie: str
    ) -> None:
        async with browsing(app) as http:
            token_file.remove(file, "ann")
            token_file.add(file, "ann", Role.VIEWER)
            assert await sees(http, cookie) == 303

    async def test_it_ends_when_the_role_is_another(
        self, app: FastAPI, file: Path, cookie: str
    ) -> None:
        async with browsing(app) as http:
            assert await sees(http, cookie) == 200
            file.write_text(file.read_text().replace("ann viewer", "ann admin"))
            assert await sees(http, cookie) == 303

    async def test_it_ends_when_the_name_is_another(
        self, app: FastAPI, file: Path, cookie: str
    ) -> None:
        async with browsing(app) as http:
            file.write_text(file.read_text().replace("ann viewer", "eve viewer"))
            assert await sees(http, cookie) == 303

    async def test_of_several_cookies_one_that_is_good_counts(
        self, app: FastAPI, cookie: str
    ) -> None:
        shown = {"cookie": f"{COOKIE}=old; other=1; {COOKIE}={cookie}; {COOKIE}=older"}
        async with browsing(app) as http:
            assert (await http.get("/ui/seen", headers=shown)).status_code == 200

    async def test_it_counts_on_pages_and_nowhere_else(self, app: FastAPI, cookie: str) -> None:
        async with calling(app, headers={**OURS, **with_cookie(cookie)}) as http:
            assert (await http.get("/ui/seen")).status_code == 200
            for path in ("/api/tasks", "/openapi.json", "/tasks/1", "/uix", "/x/ui/seen"):
                assert_problem(await http.get(path), 401)
            assert_problem(await http.post("/tasks", json={"name": "echo"}), 401)
            assert_problem(await http.post("/api/bulk"), 401)


class TestGuard:
    """Who is led to the login, and who is refused."""

    async def test_a_browser_is_led_to_the_login(self, app: FastAPI) -> None:
        async with browsing(app) as http:
            for method in ("GET", "HEAD"):
                response = await http.request(method, "/ui/queues/arq:queue?x=%2F&y=a%26b")
                assert response.status_code == 303
                location = httpx.URL(response.headers["location"])
                assert location.path == LOGIN
                assert location.params["next"] == "/ui/queues/arq:queue?x=%2F&y=a%26b"

    async def test_everybody_else_is_refused(self, app: FastAPI) -> None:
        streams = {"accept": "text/event-stream"}
        async with calling(app) as http:
            for headers in (streams, {"accept": "*/*"}, {"accept": "application/json"}, {}):
                found = assert_problem(await http.get("/ui/seen", headers=headers), 401)
                assert "login" in found["detail"]
            posted = await http.post("/ui/done", headers=OURS | {"accept": "*/*"})
            assert_problem(posted, 401)

    async def test_a_form_of_whoever_is_logged_in_no_more_is_refused_with_a_page(
        self, app: FastAPI
    ) -> None:
        async with browsing(app) as http:
            response = await http.post("/ui/done")
        assert response.status_code == 401
        assert "needs a login" in alert(response)
        assert f'href="{OVERVIEW}"' in response.text  # which leads to the login

    async def test_a_token_is_enough_for_a_page(self, app: FastAPI, token: str) -> None:
        shown = {"authorization": f"Bearer {token}"}
        async with calling(app, headers=shown) as http:
            found = (await http.get("/ui/seen")).json()
            assert (found["name"], found["logged_in"]) == ("ann", "False")

    async def test_a_wrong_token_is_told_whatever_cookie_is_there(
        self, app: FastAPI, token: str
    ) -> None:
        async with browsing(app) as http:
            await log_in(http, token)
            shown = {"authorization": "Bearer wrong"}
            assert (await http.get("/ui/seen", headers=shown)).status_code == 401
            # As a proxy with passwords of its own passes it on.
            other = {"authorization": "Basic YTpi"}
            assert (await http.get("/ui/seen", headers=other)).status_code == 200

    async def test_a_browser_at_the_root_is_led_to_the_pages(
        self, app: FastAPI, token: str
    ) -> None:
        async with browsing(app) as http:
            for path in ("/", "/ui"):
                response = await http.get(path, headers=with_cookie("x") if path == "/" else {})
                assert response.status_code == 303
            assert (await http.get("/")).headers["location"] == OVERVIEW
            await log_in(http, token)
            assert (await http.get("/ui")).headers["location"] == OVERVIEW
        async with calling(app) as http:
            assert_problem(await http.get("/"), 401)

    async def test_the_login_and_its_files_are_open_and_nothing_beside_them(
        self, app: FastAPI
    ) -> None:
        async with calling(app) as http:
            assert (await http.get(LOGIN)).status_code == 200
            assert (await http.get("/ui/static/site.css")).status_code == 200
            for path in ("/ui/login/", "/ui/loginx", "/ui/staticx", "/ui/static", "/ui/Login"):
                assert_problem(await http.get(path), 401)

    async def test_an_enqueuer_is_told_that_it_sees_nothing_and_can_log_out(
        self, app: FastAPI, file: Path
    ) -> None:
        shop = token_file.add(file, "shop", Role.ENQUEUER)
        async with browsing(app) as http:
            await log_in(http, shop)
            response = await http.get("/ui/tasks")
            assert response.status_code == 403
            assert "An enqueuer enqueues tasks and sees none" in response.text
            assert f'action="{LOGOUT}"' in response.text
            said = {"form_token": await form_token(http)}
            assert f'value="{said["form_token"]}"' in response.text
            assert (await http.post(LOGOUT, data=said)).status_code == 303

    async def test_what_is_not_there_is_told_on_a_page(self, app: FastAPI, token: str) -> None:
        async with browsing(app) as http:
            await log_in(http, token)
            response = await http.get("/ui/not-there")
            assert (response.status_code, alert(response)) == (404, "Not Found")
            assert "ann" in response.text
            large = await http.post("/ui/done", content=b"x" * 5_000_000)
            assert (large.status_code, large.headers["content-type"]) == (
                413, "text/html; charset=utf-8",
            )  # fmt: skip
            assert_problem(await http.get("/ui/not-there", headers={"accept": "*/*"}), 404)


class TestLoggingOut:
    async def test_the_browser_forgets_its_login(self, app: FastAPI, token: str) -> None:
        async with browsing(app) as http:
            await log_in(http, token)
            answer = await http.post(LOGOUT, data={"form_token": await form_token(http)})
            assert (answer.status_code, answer.headers["location"]) == (303, LOGIN)
            cookie = cookie_of(answer)
            assert (cookie.value, cookie["path"], cookie["max-age"]) == ("", "/ui", "0")
            assert not http.cookies
            assert (await http.get("/ui/seen")).status_code == 303

    async def test_nobody_elses_page_logs_anybody_out(self, app: FastAPI, token: str) -> None:
        async with browsing(app) as http:
            await log_in(http, token)
            assert (await http.post(LOGOUT)).status_code == 403
            assert (await http.get(LOGOUT)).status_code == 405
            assert (await http.get("/ui/seen")).status_code == 200


class TestWithoutTokens:
    """This machine alone: nobody logs in."""

    @pytest.fixture
    def app(self, unconnected: Settings, registry: Registry) -> FastAPI:
        return create_app(unconnected, registry, PARTS)

    async def test_everything_is_there_at_once(self, app: FastAPI) -> None:
        async with browsing(app, "http://localhost:8000", "127.0.0.1") as http:
            found = (await http.get("/ui/seen")).json()
            assert (found["name"], found["role"]) == ("this machine", "admin")
            for path in (LOGIN, "/ui", "/"):
                assert (await http.get(path)).headers["location"] == OVERVIEW
            assert (await log_in(http, "x")).headers["location"] == OVERVIEW
            assert LOGOUT not in (await http.get("/ui/not-there")).text
            assert_problem(await http.get("/", headers={"accept": "*/*"}), 404)

    @pytest.mark.parametrize("path", ["/ui/seen", LOGIN, "/ui/static/site.css", "/"])
    async def test_other_machines_are_refused(self, app: FastAPI, path: str) -> None:
        async with browsing(app) as http:
            assert (await http.get(path)).status_code == 403
        async with calling(app, headers={**HTML, "host": "evil.example"}) as http:
            assert (await http.get(path)).status_code == 403
