"""The API's composition root.

``worker api`` serves it; ``uvicorn --factory uow.api.app:create_app`` and other ASGI servers do
as well.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Security, params
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from uow.api import problems
from uow.api.addresses import ClientAddress
from uow.api.deps import queues_of
from uow.api.entrance import Entrance
from uow.api.forms import check_form
from uow.api.limits import ENVELOPE_BYTES, BodyLimit
from uow.api.pages.shown_problems import ShownProblems
from uow.api.pages.site import OPEN_PAGES, PAGE_ROLES, PAGES
from uow.api.prefix import ServedUnder
from uow.api.routers import health
from uow.api.routes import ROLES, ROUTERS, OpenRoutes, RoleTable, check_role
from uow.api.schemas import Problem
from uow.api.security import AccessGuard, HeaderWriter
from uow.app import AppParts, Found, look_for_app
from uow.client import TaskClient
from uow.db.database import Database
from uow.errors import SettingsError
from uow.questions.redaction import Redaction
from uow.settings.environment import Settings
from uow.tasks.registry import Registry, default_registry
from uow.telemetry.logs import edit_logs
from uow.user_code import find


def create_app(
    settings: Settings | None = None,
    registry: Registry = default_registry,
    application: AppParts | None = None,
) -> FastAPI:
    """The API, with the task modules loaded; nothing connects before it starts.

    ``/docs`` is there without tokens only: a browser cannot show one. ``/openapi.json`` is there
    always, and needs a token like everything but ``/health/…`` and the pages, which a login is
    enough for.

    Args:
        settings: Other settings than the environment's.
        registry: The task functions that it enqueues.
        application: What else it serves; default: with `settings` nothing, else what is found here.

    Raises:
        SettingsError: A setting is missing, unknown or malformed, or a task module or a router is
            not there.
    """
    if application is None:
        found = look_for_app(None) if settings is None else Found(AppParts())
        found.tell()
        application = found.app
    settings = settings or application.load_settings()
    settings.require_database()
    registry.load(settings.task_modules, of_app=application.modules)
    entrance = Entrance.of(settings)
    app = FastAPI(
        title="worker",
        lifespan=_lifespan(settings),
        middleware=_middleware(settings, entrance),
        exception_handlers=dict.fromkeys((HTTPException, RequestValidationError), problems.answer),
        responses={"default": _documented_problem()},
        dependencies=[Depends(check_role), Depends(check_form)],
        docs_url=None if settings.needs_token else "/docs",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.entrance = entrance
    app.state.settings = settings
    app.state.registry = registry
    app.state.queues = queues_of(registry, settings.queue, *settings.served_queues)
    app.state.redaction = Redaction(settings.redact, registry)
    _include_routers(app, settings, application)
    return app


def _lifespan(settings: Settings) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        edit_logs()
        async with (
            Database.from_settings(settings.require_database()) as app.state.db,
            TaskClient.from_settings(settings, db=app.state.db) as app.state.client,
        ):
            app.state.entrance.tell()
            yield

    return lifespan


def _middleware(settings: Settings, entrance: Entrance) -> Sequence[Middleware]:
    """From the outside to the inside."""
    proxies, root_path = settings.trusted_proxies, settings.api_root_path
    return [
        *([Middleware(ServedUnder, root_path)] if root_path else ()),
        Middleware(HeaderWriter),
        Middleware(ShownProblems),
        Middleware(problems.ErrorAnswerer),
        *([Middleware(ClientAddress, proxies)] if proxies else ()),
        Middleware(AccessGuard, entrance.rule, open_paths=health.PATHS),
        Middleware(BodyLimit, settings.max_payload_bytes + ENVELOPE_BYTES),
    ]


def _include_routers(app: FastAPI, settings: Settings, application: AppParts) -> None:
    # The AccessGuard checks the token; this only tells OpenAPI about it.
    bearer: list[params.Depends] = [Security(HTTPBearer(auto_error=False))] * settings.needs_token
    theirs = [_router(named) for named in application.routers]
    app.state.open_to_any_role = OpenRoutes([health.router, *OPEN_PAGES, *theirs])
    app.state.roles = RoleTable([*ROUTERS, *PAGES], {**ROLES, **PAGE_ROLES})
    app.include_router(health.router)
    for router in (*ROUTERS, *theirs):
        app.include_router(router, dependencies=bearer)
    for router in (*OPEN_PAGES, *PAGES):
        app.include_router(router)


def _router(named: str) -> APIRouter:
    found = find(named)
    if not isinstance(found, APIRouter):
        raise SettingsError(f"{named} is no router of FastAPI's: name it as module:name")
    return found


def _documented_problem() -> dict[str, Any]:
    return {
        "description": "A problem (RFC 9457)",
        "content": {
            problems.ProblemResponse.media_type: {"schema": Problem.model_json_schema()},
        },
    }
