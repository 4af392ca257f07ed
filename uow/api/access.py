"""Who calls a route, and whether redacted values may be shown: dependencies of the routes."""

from typing import Annotated

from fastapi import Depends, HTTPException, Query
from starlette.requests import HTTPConnection
from starlette.types import Scope

from uow.api.roles import Caller, Role


def note_caller(scope: Scope, caller: Caller) -> None:
    """Put the caller's name and role where routes find them, as ``request.state``."""
    state = scope.setdefault("state", {})
    state["actor_name"], state["role"] = caller.name, caller.role


async def get_caller(connection: HTTPConnection) -> Caller:
    """Who calls.

    Raises:
        HTTPException: 403, nobody has been let in here.
    """
    state = connection.scope.get("state", {})
    name, role = state.get("actor_name"), state.get("role")
    if not isinstance(name, str) or not isinstance(role, Role):
        raise HTTPException(403, "nobody may call this")
    return Caller(name, role)


CallerDep = Annotated[Caller, Depends(get_caller)]


async def may_reveal(
    caller: CallerDep,
    reveal: Annotated[
        bool, Query(description="Show redacted values, too: for admins, and noted in the audit.")
    ] = False,
) -> bool:
    """Whether redacted values are to be shown: ``?reveal=true``, by somebody who may.

    The route that shows them writes the row of the audit.

    Raises:
        HTTPException: 403, the caller is no admin.
    """
    if reveal and not caller.may(Role.ADMIN):
        raise refused(caller, Role.ADMIN, "revealing what is redacted")
    return reveal


RevealDep = Annotated[bool, Depends(may_reveal)]
"""True: show redacted values, and write so into the audit."""


def refused(caller: Caller, needed: Role, what: str) -> HTTPException:
    """That the caller's role does not include what is needed."""
    return HTTPException(
        403, f"{what} needs the role {needed}, and {caller.name} is {_a(caller.role)}"
    )


def _a(role: Role) -> str:
    return f"{'a' if role is Role.VIEWER else 'an'} {role}"
