"""What the API has behind its tokens, and which role each of it needs.

`uow.api.app` serves these routers, and `uow.api.router` puts them into an app of somebody else's. A
route that has no line here needs an admin; a test wants a line for each. `check_role` is a
dependency of the whole app, so that it holds for a route that nobody has thought of, too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from fastapi import APIRouter, routing
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from uow.api.access import get_caller, refused
from uow.api.roles import Role
from uow.api.routers import (
    acts,
    audit,
    bulk,
    events,
    fleet,
    numbers,
    pauses,
    prune,
    task_lists,
    tasks,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    tasks.router, task_lists.router, fleet.router, numbers.router, events.router, acts.router,
    bulk.router, pauses.router, audit.router, prune.router,
)  # fmt: skip

ROLES: Final[Mapping[str, Role]] = {
    "POST /tasks": Role.ENQUEUER,
    "GET /tasks/{task_id}": Role.VIEWER,
    "POST /tasks/{task_id}/cancel": Role.OPERATOR,
    "POST /tasks/{task_id}/retry": Role.OPERATOR,
    "POST /tasks/retry": Role.OPERATOR,
    "GET /api/events": Role.VIEWER,
    "GET /api/tasks": Role.VIEWER,
    "GET /api/tasks/{task_id}": Role.VIEWER,
    "GET /api/tasks/{task_id}/why": Role.VIEWER,
    "GET /api/workers": Role.VIEWER,
    "GET /api/queues": Role.VIEWER,
    "GET /api/names": Role.VIEWER,
    "GET /api/users": Role.VIEWER,
    "GET /api/users/{user_id:path}": Role.VIEWER,
    "GET /api/errors": Role.VIEWER,
    "GET /api/stats": Role.VIEWER,
    "GET /api/schedules": Role.VIEWER,
    "GET /api/servers": Role.VIEWER,
    "POST /api/tasks/{task_id}/cancel": Role.OPERATOR,
    "POST /api/tasks/{task_id}/retry": Role.OPERATOR,
    "POST /api/tasks/{task_id}/run-now": Role.OPERATOR,
    "POST /api/tasks/{task_id}/priority": Role.OPERATOR,
    "DELETE /api/tasks/{task_id}": Role.OPERATOR,
    "POST /api/bulk/preview": Role.OPERATOR,
    "POST /api/bulk": Role.OPERATOR,
    "GET /api/bulk/{bulk_id}": Role.VIEWER,
    "POST /api/bulk/{bulk_id}/stop": Role.OPERATOR,
    "GET /api/pauses": Role.VIEWER,
    "POST /api/everything/pause": Role.OPERATOR,
    "POST /api/everything/resume": Role.OPERATOR,
    "POST /api/queues/{queue:path}/pause": Role.OPERATOR,
    "POST /api/queues/{queue:path}/resume": Role.OPERATOR,
    "POST /api/names/{name:path}/pause": Role.OPERATOR,
    "POST /api/names/{name:path}/resume": Role.OPERATOR,
    "POST /api/users/{user:path}/pause": Role.OPERATOR,
    "POST /api/users/{user:path}/resume": Role.OPERATOR,
    "GET /api/audit": Role.OPERATOR,
    "POST /api/prune": Role.ADMIN,
}

Endpoint = Callable[..., Any]


class RoleTable:
    """Which role each of our routes needs, whatever prefix it is served under.

    Args:
        routers: Whose routes they are.
        roles: The role of each, by method and path; a route without a line needs an admin.

    Attributes:
        declared: The routes as `roles` calls them, by method and endpoint.
    """

    def __init__(self, routers: Iterable[APIRouter], roles: Mapping[str, Role]) -> None:
        self.declared = {
            (method, route.endpoint): f"{method} {route.path}"
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
        self.roles = roles

    def needed(self, method: str, endpoint: Endpoint) -> Role:
        """The role that a route needs."""
        return self.roles.get(self.declared.get((method, endpoint), ""), Role.ADMIN)


API_ROLES: Final = RoleTable(ROUTERS, ROLES)
"""For an app that says nothing else as ``app.state.roles``."""


class OpenRoutes:
    """Routes that need no role: those of the application, and of health.

    Args:
        routers: Whose routes they are; also those that are added later.
    """

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._routers = tuple(routers)
        self._known: frozenset[Endpoint] = frozenset()

    def __contains__(self, endpoint: Endpoint) -> bool:
        if endpoint not in self._known:
            self._known = frozenset(self._endpoints())
        return endpoint in self._known

    def _endpoints(self) -> Iterator[Endpoint]:
        # Newer versions of FastAPI have a router in the routes as such.
        flat: Callable[[Any], Iterable[Any]] = getattr(routing, "iter_route_contexts", iter)
        for router in self._routers:
            for route in flat(router.routes):
                if (endpoint := getattr(route, "endpoint", None)) is not None:
                    yield endpoint


async def check_role(connection: HTTPConnection) -> None:
    """Refuse a caller whose role does not include what the route needs.

    Raises:
        HTTPException: 403, with both roles.
    """
    endpoint = connection.scope["endpoint"]
    if endpoint in getattr(connection.app.state, "open_to_any_role", ()):
        return
    caller = await get_caller(connection)
    table: RoleTable = getattr(connection.app.state, "roles", API_ROLES)
    needed = table.needed(connection.scope.get("method", "GET"), endpoint)
    if not caller.may(needed):
        raise refused(caller, needed, "this")
