"""Where the pages are, as a request has asked and as a browser has to ask.

A proxy may serve the API under a prefix (`root_path`), and may or may not take it off: what the
router reads as the path is what counts for whoever guards it, too.
"""

import re
from typing import Final
from urllib.parse import quote, unquote, urlencode

from starlette.datastructures import Headers
from starlette.types import Scope

OVERVIEW: Final = "/ui/"
LOGIN: Final = "/ui/login"
LOGOUT: Final = "/ui/logout"
STATIC: Final = "/ui/static/"

_SAFE: Final = "/:@!$&'()*+=~"
"""What may stand in a path as it is."""

_LONGEST: Final = 2_000
"""Characters of an address to go on to."""

_WRITTEN: Final = re.compile(r"[!-~]*")
_ELSEWHERE: Final = re.compile(r"//|\\|[\x00-\x1f\x7f]|/\.{1,2}(/|$)")
"""In a path that a browser may read as one that does not lead below ours."""


def path_of(scope: Scope) -> str:
    """The path without the prefix, as routes are matched with it."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if not root_path or not path.startswith(root_path):
        return path
    rest = path[len(root_path) :]
    return rest if rest.startswith("/") or not rest else path


def is_page(path: str) -> bool:
    """Whether a path without the prefix belongs to the pages."""
    return path == "/ui" or path.startswith("/ui/")


def address(scope: Scope, path: str, **words: str) -> str:
    """What a browser has to ask for: a path of ours behind the prefix, with a query."""
    said = urlencode(words)
    return quote(scope.get("root_path", ""), safe=_SAFE) + path + (f"?{said}" if said else "")


def asked_for(scope: Scope) -> str:
    """The page that a request asks for, with its query and without the prefix."""
    query = scope.get("query_string", b"").decode("latin-1")
    return quote(path_of(scope), safe=_SAFE) + (f"?{query}" if query else "")


def page_or_overview(wanted: str) -> str:
    """The page to go to after a login: `wanted` if it is one of ours for sure, else the overview.

    Somebody else may have written it, to lead on to a place of theirs.
    """
    path = wanted.partition("?")[0]
    once = unquote(path)
    is_ours = path.startswith(OVERVIEW) and not path.startswith((LOGIN, LOGOUT, STATIC))
    if not is_ours or len(wanted) > _LONGEST or not _WRITTEN.fullmatch(wanted):
        return OVERVIEW
    if any(_ELSEWHERE.search(one) for one in (path, once, unquote(once))):
        return OVERVIEW
    return wanted


def wants_html(headers: Headers) -> bool:
    """Whether a browser asks for something to show."""
    return "text/html" in headers.get("accept", "").lower()
