"""Who may see the pages: whoever has logged in, or shows a token as for the rest of the API.

A login's cookie counts here and nowhere else: what is not a page needs a token, which no browser
sends by itself. What changes anything is asked where it comes from before anything else.
"""

from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from uow.api.forms import SAFE_METHODS, FormTokens
from uow.api.logins import Logins
from uow.api.origins import fault_of_origin
from uow.api.page_paths import (
    LOGIN,
    OVERVIEW,
    STATIC,
    address,
    asked_for,
    is_page,
    path_of,
    wants_html,
)
from uow.api.problems import problem
from uow.api.roles import THIS_MACHINE, Caller
from uow.api.security import Rule, bearer_token

SEE_OTHER: Final = 303


class PageAccess:
    """A rule for the pages, and for what a browser finds at ``/``; of all else another one decides.

    Args:
        elsewhere: Who may call what is no page.
        forms: Makes the tokens of the forms that are shown.
        logins: Who has logged in; None: nobody has to, the other rule decides of pages, too.
    """

    def __init__(self, elsewhere: Rule, forms: FormTokens, logins: Logins | None) -> None:
        self._elsewhere = elsewhere
        self._forms = forms
        self._logins = logins

    def __call__(self, connection: HTTPConnection) -> Caller | Response | None:
        """Who calls; None: anybody may; or how the request is refused."""
        path = path_of(connection.scope)
        if not is_page(path):
            return self._elsewhere_or_here(connection, path)
        # A WebSocket has no method, and no other protection.
        is_safe = connection.scope.get("method") in SAFE_METHODS
        if not is_safe and (fault := fault_of_origin(connection)):
            return problem(403, fault)
        if self._logins is None:
            return self._without_login(connection)
        if path == LOGIN or path.startswith(STATIC):
            return None
        return self._logged_in(connection, self._logins) or _log_in_first(connection)

    def _elsewhere_or_here(self, connection: HTTPConnection, path: str) -> Caller | Response | None:
        if path in ("", "/") and self._logins is not None and _is_browser(connection):
            return RedirectResponse(address(connection.scope, OVERVIEW), SEE_OTHER)
        return self._elsewhere(connection)

    def _without_login(self, connection: HTTPConnection) -> Caller | Response | None:
        said = self._elsewhere(connection)
        if isinstance(said, Caller):
            self._forms.note(connection.scope, THIS_MACHINE.name)
        return said

    def _logged_in(self, connection: HTTPConnection, logins: Logins) -> Caller | Response | None:
        """By a token if one is shown, whatever cookie is there; else by a login."""
        if shown := bearer_token(connection.headers):
            self._forms.note(connection.scope, "token", shown.decode("latin-1"))
            return self._elsewhere(connection)
        login = logins.find(connection)
        if login is None:
            return None
        self._forms.note(connection.scope, "login", login.cookie)
        connection.scope["state"]["logged_in"] = True
        return login.caller


def _log_in_first(connection: HTTPConnection) -> Response:
    scope = connection.scope
    if _is_browser(connection):
        return RedirectResponse(address(scope, LOGIN, next=asked_for(scope)), SEE_OTHER)
    return problem(
        401,
        "this needs a login, or the header Authorization: Bearer <token>",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _is_browser(connection: HTTPConnection) -> bool:
    reads = connection.scope.get("method") in ("GET", "HEAD")
    return reads and wants_html(connection.headers) and not bearer_token(connection.headers)
