"""Whose request it is, behind proxies that are trusted and others."""

from typing import Any

import pytest

from uow.api.addresses import ClientAddress

TRUSTED = ("10.0.0.0/8", "192.0.2.1", "fd00::/8")


async def seen(
    peer: str | None, *forwarded: str, proto: str | None = None
) -> tuple[str | None, str]:
    """The address and the scheme that the app sees."""
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)

    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    if proto is not None:
        headers.append((b"x-forwarded-proto", proto.encode()))
    client = None if peer is None else (peer, 4711)
    scope = {"type": "http", "client": client, "scheme": "http", "headers": headers}
    await ClientAddress(app, TRUSTED)(scope, None, None)  # type: ignore[arg-type]
    return (found["client"][0] if found["client"] else None), found["scheme"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["203.0.113.7:5555"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8::7]:5555"], "2001:db8::7"),
        ("10.0.0.1", ["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7", "10.0.0.2, 192.0.2.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        # What the client has said itself.
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["127.0.0.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1, "], "10.0.0.1"),
        ("10.0.0.1", [", ".join(["198.51.100.1"] + ["10.0.0.9"] * 1000)], "10.0.0.9"),
        # No proxy of ours.
        ("203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.7"], "127.0.0.1"),
        ("not an address", ["127.0.0.1"], "not an address"),
        (None, ["127.0.0.1"], None),
    ],
)
async def test_the_client_is_whom_the_farthest_trusted_proxy_has_seen(
    peer: str | None, forwarded: list[str], client: str | None
) -> None:
    assert (await seen(peer, *forwarded))[0] == client


async def test_the_scheme_is_that_of_a_trusted_proxy() -> None:
    assert (await seen("10.0.0.1", proto="https"))[1] == "https"
    assert (await seen("10.0.0.1", proto="http, HTTPS"))[1] == "https"
    assert (await seen("10.0.0.1", proto="javascript"))[1] == "http"
    assert (await seen("203.0.113.9", proto="https"))[1] == "http"
