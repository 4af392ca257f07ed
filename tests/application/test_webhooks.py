"""`webhooks.deliver`, against a web server on loopback."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from tests.conftest import Drain
from tests.loopback import WebServer, make_certificate, web_server
from uow import Retry, TaskClient, TaskFailed, TaskHandle, TaskState
from uow.clock import utcnow
from uow.errors import InvalidArguments, SettingsError
from uow.tasks.context import RunningTask
from uow.tasks.registry import Registry
from uow.tasks.retry import Backoff
from worker.errors import WebhookRefused
from worker.settings import WorkerAppSettings
from worker.tasks import egress
from worker.tasks.egress import is_public
from worker.tasks.resolver import Resolver
from worker.tasks.webhooks import deliver, retry_after

PAYLOAD = {"id": 1, "name": "Å"}
SECRET = "shared with the receiver"


@pytest.fixture
async def receiver() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        yield server


Call = Callable[..., Coroutine[Any, Any, int]]


@pytest.fixture
def call() -> Call:
    """Call the plain function, as a unit test would."""

    async def run(url: str, **changed: object) -> int:
        settings = WorkerAppSettings(webhook_secret=SecretStr(SECRET), webhook_allow_private=True)
        task = RunningTask(
            db=None,  # type: ignore[arg-type]
            id=None,
            name=deliver.name,
            attempt=1,
            tries=0,
            user_id=None,
            queue="arq:queue",
            idempotency_key="key-1",
        )
        ctx: Any = {"settings": settings.model_copy(update=changed), "task": task}
        return await deliver(ctx, url, "user.created", PAYLOAD)

    return run


@pytest.fixture
def resolve_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let every host have these addresses, the first time it is asked for, and others later."""

    def prepare(*addresses: str) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
            asked.append(host)
            found = addresses if len(asked) == 1 else ("192.0.2.1",)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return prepare


# -- what arrives


async def test_the_payload_arrives_as_json_with_event_and_delivery(
    call: Call, receiver: WebServer
) -> None:
    assert await call(f"http://localhost:{receiver.port}/hook?a=b#c") == 204
    [request] = receiver.received
    assert request.path == "/hook?a=b"
    assert json.loads(request.body) == PAYLOAD
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-worker-event"] == "user.created"
    assert request.headers["x-worker-delivery"] == "key-1"
    assert request.headers["host"] == f"localhost:{receiver.port}"


async def test_the_receiver_can_verify_the_signature(call: Call, receiver: WebServer) -> None:
    await call(f"http://localhost:{receiver.port}/")
    [request] = receiver.received
    timestamp = request.headers["x-worker-timestamp"]
    assert abs(int(timestamp) - utcnow().timestamp()) < 60
    signed = f"{timestamp}.".encode() + request.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert request.headers["x-worker-signature"] == f"sha256={expected}"


async def test_without_a_secret_nothing_is_sent(call: Call, receiver: WebServer) -> None:
    with pytest.raises(SettingsError, match="WORKER_WEBHOOK_SECRET"):
        await call(f"http://localhost:{receiver.port}/", webhook_secret=None)
    assert receiver.received == []


@pytest.mark.parametrize("event", ["", "two words", "a\r\nX-Other: b", "å", "x" * 101])
async def test_an_event_that_fits_no_header_is_refused_when_it_is_enqueued(event: str) -> None:
    async with AsyncSession() as session:  # bound to nothing: a statement would fail
        with pytest.raises(InvalidArguments, match=r"webhooks\.deliver: event: "):
            await deliver.enqueue(session, url="https://example.com", event=event, payload={})


async def test_the_url_which_may_hold_a_token_is_not_logged(
    call: Call, receiver: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await call(f"http://localhost:{receiver.port}/token")
    assert "token" not in caplog.text


# -- what the receiver answers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_2xx_is_the_result(call: Call, receiver: WebServer, status: int) -> None:
    receiver.answers = [f"{status} Fine"]
    assert await call(f"http://localhost:{receiver.port}/") == status


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
async def test_5xx_408_and_429_are_retried(call: Call, receiver: WebServer, status: int) -> None:
    receiver.answers = [f"{status} Not now"]
    with pytest.raises(Retry, match=f"the receiver answered {status}"):
        await call(f"http://localhost:{receiver.port}/")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
async def test_any_other_4xx_is_final(call: Call, receiver: WebServer, status: int) -> None:
    receiver.answers = [f"{status} No"]
    with pytest.raises(WebhookRefused, match=f"the receiver answered {status}"):
        await call(f"http://localhost:{receiver.port}/")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(call: Call, receiver: WebServer, status: int) -> None:
    receiver.answers = [f"{status} There\r\nLocation: /there"]
    with pytest.raises(WebhookRefused, match=f"the receiver answered {status}"):
        await call(f"http://localhost:{receiver.port}/")
    assert len(receiver.received) == 1


async def test_a_receiver_that_does_not_answer_is_left_and_tried_again(
    call: Call, receiver: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "TIMEOUT", httpx.Timeout(0.05))
    receiver.silent = True
    with pytest.raises(httpx.ReadTimeout) as error:
        await call(f"http://localhost:{receiver.port}/")
    assert not isinstance(error.value, deliver.policy.final)


async def test_a_receiver_that_is_away_is_tried_again(call: Call) -> None:
    async with web_server() as gone:
        pass
    with pytest.raises(httpx.ConnectError) as error:
        await call(f"http://localhost:{gone.port}/")
    assert not isinstance(error.value, deliver.policy.final)


async def test_an_endless_answer_is_not_read(call: Call, receiver: WebServer) -> None:
    receiver.answers, receiver.endless = ["200 OK"], True
    async with asyncio.timeout(5):
        assert await call(f"http://localhost:{receiver.port}/") == 200


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("3600", 3600.0),
        ("86400", 3600.0),
        ("9" * 400, 3600.0),
        ("0", None),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("٣", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("Fri, 31 Dec 99999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 2100 23:59:59 +9999", None),
    ],
)
def test_retry_after_is_obeyed_within_limits(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


@pytest.mark.parametrize("status", [429, 503])
async def test_who_is_busy_is_asked_again_when_it_says_but_not_again_and_again(
    call: Call, receiver: WebServer, status: int
) -> None:
    pauses = []
    for asked in ("600", "7200", "1", format_datetime(utcnow() + timedelta(hours=6), usegmt=True)):
        receiver.answers = [f"{status} Busy\r\nRetry-After: {asked}"]
        with pytest.raises(Retry) as busy:
            await call(f"http://localhost:{receiver.port}/")
        pauses.append(busy.value.delay)
    assert pauses[:2] == [600, 3600]
    assert pauses[2] is not None
    assert pauses[2] > 3  # a day's tries would be used up within a minute
    assert pauses[3] == 3600


def test_retry_after_may_be_a_date() -> None:
    seconds = retry_after(format_datetime(utcnow() + timedelta(minutes=2), usegmt=True))
    assert seconds is not None
    assert 110 < seconds <= 120


# -- where it may go


PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.0.2.1", "192.168.1.1",
    "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::10.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
]  # fmt: skip

PUBLIC = ["1.1.1.1", "93.184.216.34", "100.63.0.1", "172.32.0.1", "2606:4700:4700::1111",
          "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_on_the_public_internet_is_told(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_on_the_public_internet_is_told(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"]
)
async def test_a_private_address_is_refused_however_it_is_written(
    call: Call, receiver: WebServer, host: str
) -> None:
    with pytest.raises(WebhookRefused, match="not on the public internet"):
        await call(f"http://{host}:{receiver.port}/", webhook_allow_private=False)
    assert receiver.received == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse(
    call: Call, resolve_to: Callable[..., list[str]]
) -> None:
    resolve_to("93.184.216.34", "10.0.0.1")
    with pytest.raises(WebhookRefused, match=r"hooks\.test has the address 10\.0\.0\.1"):
        await call("https://hooks.test/", webhook_allow_private=False)


async def test_the_connection_goes_to_the_address_that_was_checked(
    call: Call, receiver: WebServer, resolve_to: Callable[..., list[str]]
) -> None:
    asked = resolve_to("127.0.0.1")
    assert await call(f"http://hooks.test:{receiver.port}/") == 204
    assert asked.count("hooks.test") == 1
    assert receiver.received[0].headers["host"] == f"hooks.test:{receiver.port}"


async def test_the_next_address_is_tried_when_one_takes_no_connection(
    call: Call, receiver: WebServer, resolve_to: Callable[..., list[str]]
) -> None:
    resolve_to("127.0.0.2", "127.0.0.1")
    assert await call(f"http://hooks.test:{receiver.port}/") == 204


async def test_slow_name_servers_hold_up_webhooks_only_and_these_are_tried_again(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait())
    monkeypatch.setattr(egress, "resolver", Resolver(seconds=0.2))
    try:
        calls = [asyncio.create_task(call("http://slow.test/")) for _ in range(40)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.to_thread(threading.active_count)
        errors = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        answer.set()
    assert {type(error) for error in errors} == {TimeoutError}
    assert not issubclass(TimeoutError, deliver.policy.final)


async def test_a_proxy_from_the_environment_is_not_asked(
    call: Call, receiver: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert await call(f"http://localhost:{receiver.port}/") == 204


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.com/", "must start with http"),
        ("file:///etc/passwd", "must start with http"),
        ("//example.com/", "must start with http"),
        ("example.com", "must start with http"),
        ("http:///path", "has no host"),
        ("http://example.com:0/", "a port that does not exist"),
        ("http://example.com:99999/", "a port that does not exist"),
        ("http://example.com:port/", "malformed"),
        ("http://example.com/\r\nX: y", "malformed"),
        ("http://user:password@example.com/", "a user or a password"),
        ("http://user@example.com/", "a user or a password"),
        ("http://a..b/", "is not a host name"),
        (f"http://{'a' * 64}.com/", "is not a host name"),
    ],
)
async def test_a_url_that_is_none_to_call_is_refused(call: Call, url: str, message: str) -> None:
    with pytest.raises(WebhookRefused, match=message) as error:
        await call(url)
    assert "password@" not in str(error.value)


# -- TLS


@pytest.fixture
async def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    """A receiver whose certificate is for "localhost", and trusted."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    egress._tls.cache_clear()
    async with web_server(tls=certificate) as server:
        yield server
    egress._tls.cache_clear()


async def test_the_certificate_is_checked_for_the_host_and_not_for_its_address(
    call: Call, secure: WebServer
) -> None:
    assert await call(f"https://localhost:{secure.port}/") == 204


@pytest.mark.parametrize("host", ["127.0.0.1", "hooks.test"])
async def test_a_certificate_for_another_host_is_not_accepted(
    call: Call, secure: WebServer, resolve_to: Callable[..., list[str]], host: str
) -> None:
    resolve_to("127.0.0.1")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await call(f"https://{host}:{secure.port}/")
    assert secure.received == []


# -- as a task


class TestAsATask:
    @pytest.fixture
    def settings(self, settings: WorkerAppSettings) -> WorkerAppSettings:
        return settings.model_copy(
            update={
                "webhook_secret": SecretStr(SECRET),
                "webhook_allow_private": True,
            }
        )

    @pytest.fixture
    def registry(self) -> Registry:
        """The task, with the pauses between its tries left out."""
        registry = Registry()
        policy = dataclasses.replace(deliver.policy, backoff=Backoff(base=0, cap=0))
        registry.add(dataclasses.replace(deliver, policy=policy))
        return registry

    async def enqueued(self, client: TaskClient, receiver: WebServer) -> TaskHandle[Any]:
        url = f"http://localhost:{receiver.port}/"
        return await client.enqueue(deliver, url=url, event="user.created", payload=PAYLOAD)

    async def test_a_delivery_that_is_repeated_keeps_its_id(
        self, client: TaskClient, drain: Drain, receiver: WebServer
    ) -> None:
        receiver.answers = ["500 Oh", "503 Oh"]
        handle = await self.enqueued(client, receiver)
        while not (await handle.status()).settled:
            await drain()
        assert await handle.result(5) == 204
        ids = [request.headers["x-worker-delivery"] for request in receiver.received]
        assert ids == [str(handle.id)] * 3

    async def test_a_404_fails_at_once(
        self, client: TaskClient, drain: Drain, receiver: WebServer
    ) -> None:
        receiver.answers = ["404 Not Found"]
        handle = await self.enqueued(client, receiver)
        await drain()
        with pytest.raises(TaskFailed, match="WebhookRefused: the receiver answered 404"):
            await handle.result(5)
        view = await client.get(handle.id)
        assert view is not None
        assert view.tries == 1

    async def test_retry_after_says_when_the_next_attempt_is_due(
        self, client: TaskClient, drain: Drain, receiver: WebServer
    ) -> None:
        receiver.answers = ["429 Slow Down\r\nRetry-After: 600"]
        handle = await self.enqueued(client, receiver)
        await drain()
        view = await client.get(handle.id)
        assert view is not None
        assert view.state is TaskState.RETRYING
        assert timedelta(seconds=590) < view.run_at - utcnow() <= timedelta(seconds=600)
