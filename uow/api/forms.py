"""Forms of the pages: what a form has to bring along, so that nobody else's page can send it.

Each form has a field `form_token`, which is bound to the login that it was shown under (without
tokens, to this API). `check_form` is a dependency of the whole app: it holds for every route under
``/ui/`` that changes anything, also for one that nobody has thought of. That a request comes from a
page of ours at all has been asked before, by `uow.api.page_access`.
"""

import hmac
from typing import Final

from fastapi import HTTPException
from pydantic import SecretStr
from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from uow.api.page_paths import LOGIN, is_page, path_of
from uow.api.signing import Signer

FIELD: Final = "form_token"
"""The name of the field, and of what templates see."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_PURPOSE: Final = b"uow form 1\n"
_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"


class FormTokens:
    """Makes form tokens.

    Args:
        secret: ``WORKER_API_SECRET``; None: they end with this object.
    """

    def __init__(self, secret: SecretStr | None) -> None:
        self._signer = Signer(_PURPOSE, secret)

    def note(self, scope: Scope, *let_in_by: str) -> None:
        """Put the token of whoever is let in by this where forms find it, as ``request.state``."""
        scope.setdefault("state", {})[FIELD] = self._signer.sign(*let_in_by)


async def check_form(connection: HTTPConnection) -> None:
    """Refuse what would change anything and is no form of ours.

    The form of a login has no token: there is no login yet to bind it to.

    Raises:
        HTTPException: 403, its form token is missing or another one.
    """
    path = path_of(connection.scope)
    if not is_page(path) or not isinstance(connection, Request):
        return
    if connection.method in SAFE_METHODS or path == LOGIN:
        return
    expected = connection.scope.get("state", {}).get(FIELD)
    shown = await _shown(connection)
    if not expected or not hmac.compare_digest(shown.encode(), expected.encode()):
        raise HTTPException(
            403, "this form is of another login or none: go back, load the page again, and repeat"
        )


async def _shown(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _MEDIA_TYPE:
        return ""
    given = (await request.form()).getlist(FIELD)
    return given[0] if len(given) == 1 and isinstance(given[0], str) else ""
