"""Whether a request comes from a page of ours: what browsers say of that, and no page can forge.

Over TLS and on this machine itself browsers send ``Sec-Fetch-Site``; on plain HTTP they do not, and
``Origin`` has to be the request's own. A request that says neither may come from anywhere.
"""

from typing import Final

from starlette.requests import HTTPConnection

_OURS: Final = frozenset({"same-origin", "none"})
"""From a page of ours; or from the person, by no page at all."""

_PORTS: Final = {"http": ":80", "https": ":443"}


def fault_of_origin(connection: HTTPConnection) -> str | None:
    """Why a request may not change anything; None: it comes from a page of ours."""
    said = connection.headers.getlist("sec-fetch-site")
    if said:
        ours = len(said) == 1 and said[0] in _OURS
        return None if ours else "pages of other sites may not send forms to this one"
    origins = connection.headers.getlist("origin")
    if not origins:
        return (
            "a form has to say where it comes from (Sec-Fetch-Site or Origin); programs call the "
            "routes below /api/ instead"
        )
    own = _own_origin(connection)
    if len(origins) == 1 and own is not None and _plain(origins[0]) == own:
        return None
    return (
        "pages of other sites may not send forms to this one; a proxy in front has to pass on Host "
        "and X-Forwarded-Proto, and to stand in WORKER_TRUSTED_PROXIES"
    )


def _own_origin(connection: HTTPConnection) -> str | None:
    hosts = connection.headers.getlist("host")
    if len(hosts) != 1 or not hosts[0]:
        return None
    return _plain(f"{connection.scope.get('scheme', 'http')}://{hosts[0]}")


def _plain(origin: str) -> str:
    """As browsers write it: in lower case, and without the port that goes without saying."""
    lower = origin.lower()
    return lower.removesuffix(_PORTS.get(lower.partition("://")[0], ""))
