"""Requests to addresses that others have chosen, kept out of our own network.

The host is resolved once, every address it has is checked, and the connection goes to one of them:
a name that resolves differently a moment later changes nothing. Host header, SNI and the check of
the certificate stay with the name. No redirect is followed, no proxy is asked, no body is read.
"""

import functools
import logging
import ssl
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from worker.errors import WebhookRefused
from worker.tasks.resolver import resolver

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
"""Seconds for each read and write, and for each connect."""

ADDRESSES_TRIED = 3
"""Of a host with many addresses, so many are tried; only connects that failed are repeated."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = (
    IPv4Network("168.63.129.16/32"),  # Azure's metadata, the one such address that looks public
    IPv4Network("192.0.0.0/24"),  # Oracle's are in it; not every Python 3.11 calls it private
)

# httpx logs the URL of each request at INFO, and a webhook's URL often is a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool
) -> httpx.Response:
    """POST `body` and return the answer's status and headers.

    Raises:
        WebhookRefused: The URL is none of ours to call, or an address of its host is private.
        OSError: The host cannot be resolved, or not in time.
        httpx.TransportError: No address answers, or none in time.
    """
    target = check_url(url)
    addresses = await resolve(target)
    if not allow_private:
        _refuse_private(target.host, addresses)
    async with httpx.AsyncClient(verify=_tls(), trust_env=False, timeout=TIMEOUT) as client:
        return await _post_to_first(client, target, addresses[:ADDRESSES_TRIED], body, headers)


def check_url(url: str) -> httpx.URL:
    """Parse `url`.

    Raises:
        WebhookRefused: It is not http or https, has a user or a password, or is malformed.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise WebhookRefused(f"the URL is malformed: {error}") from error
    if parsed.scheme not in ("http", "https"):
        raise WebhookRefused("the URL must start with http:// or https://")
    if not parsed.host:
        raise WebhookRefused("the URL has no host")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise WebhookRefused(f"the URL has a port that does not exist, {parsed.port}")
    if parsed.userinfo:
        raise WebhookRefused("the URL has a user or a password in it")
    return parsed


async def resolve(url: httpx.URL) -> list[str]:
    """The addresses of the URL's host, in the order in which they should be tried.

    Raises:
        WebhookRefused: The host is no name.
        OSError: It cannot be resolved, or not in time.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        return await resolver.addresses_of(url.raw_host.decode(), port)
    except UnicodeError as error:
        raise WebhookRefused(f"{url.host} is not a host name") from error


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether `address` belongs to somebody on the internet, and not to us or to nobody."""
    if isinstance(address, IPv6Address):
        inner = _ipv4_within(address)
        if inner is not None:
            return is_public(inner)
        return address in _GLOBAL_UNICAST and address.is_global
    if address.is_multicast or address.is_reserved or any(address in net for net in _NOT_PUBLIC):
        return False
    return address.is_global


def _ipv4_within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a connection to `address` would reach."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _refuse_private(host: str, addresses: list[str]) -> None:
    for address in addresses:
        if not is_public(ip_address(address.partition("%")[0])):
            raise WebhookRefused(
                f"{host} has the address {address}, which is not on the public internet "
                "(WORKER_WEBHOOK_ALLOW_PRIVATE allows it)"
            )


async def _post_to_first(
    client: httpx.AsyncClient,
    target: httpx.URL,
    addresses: list[str],
    body: bytes,
    headers: Mapping[str, str],
) -> httpx.Response:
    """POST to the first address that takes a connection."""
    for address in addresses[:-1]:
        try:
            return await _post_to(client, target, address, body, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await _post_to(client, target, addresses[-1], body, headers)


async def _post_to(
    client: httpx.AsyncClient,
    target: httpx.URL,
    address: str,
    body: bytes,
    headers: Mapping[str, str],
) -> httpx.Response:
    request = client.build_request(
        "POST",
        target.copy_with(host=address),
        content=body,
        headers={**headers, "Host": target.netloc.decode()},
        extensions={"sni_hostname": target.raw_host.decode()},
    )
    response = await client.send(request, stream=True)
    await response.aclose()  # whatever its body is, and however long
    return response


@functools.cache
def _tls() -> ssl.SSLContext:
    # Takes 40 ms. SSL_CERT_FILE and SSL_CERT_DIR are obeyed, the environment's proxies are not.
    return httpx.create_ssl_context()
