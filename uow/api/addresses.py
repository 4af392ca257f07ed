"""Whose request it is when proxies stand in front: only those that are trusted are believed."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

MOST_HOPS = 32
"""Addresses of one header that are looked at, from the nearest on."""


class ClientAddress:
    """Puts the client's own address, and the scheme it has used, in the place of the proxy's.

    ``X-Forwarded-For`` is read from its end, where the nearest proxy has written, for as long as
    each address is that of a trusted proxy: what a client has put into it counts for nothing.

    Args:
        app: What is told.
        trusted: Addresses or networks of proxies.
    """

    def __init__(self, app: ASGIApp, trusted: Iterable[str]) -> None:
        self.app = app
        self._trusted = [ip_network(one, strict=False) for one in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        peer = scope.get("client")
        if peer and is_in(peer[0], self._trusted):
            scope = {**scope, **self._told_of(scope, peer)}
        await self.app(scope, receive, send)

    def _told_of(self, scope: Scope, peer: tuple[str, int]) -> Scope:
        headers = Headers(scope=scope)
        hops = ",".join(headers.getlist("x-forwarded-for")).rsplit(",", MOST_HOPS)
        client = peer
        for hop in reversed(hops):
            address = _address_in(hop)
            if address is None:
                break
            client = (address, 0)
            if not is_in(address, self._trusted):
                break
        scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        told = scheme in ("http", "https") and scope["type"] == "http"
        return {"client": client} | ({"scheme": scheme} if told else {})


def is_forwarded(headers: Headers) -> bool:
    """Whether some proxy says that it passes on what another machine has asked."""
    return any(name in headers for name in ("forwarded", "x-forwarded-for", "x-real-ip"))


def is_in(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether the address is in one of the networks; what is no address is in none."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    plain = getattr(found, "ipv4_mapped", None) or found
    return any(plain in network for network in networks)


def _address_in(hop: str) -> str | None:
    """Without the port that some write."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
