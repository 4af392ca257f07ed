"""The pages as a whole: their routers, who may see which, and the way to them."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter

from uow.api.pages import (
    failures,
    loads,
    overview,
    pausing,
    schedules,
    static_files,
    tasks,
    workers,
)
from uow.api.roles import Role

PAGES: Final[tuple[APIRouter, ...]] = (
    static_files.router, tasks.router, overview.router, loads.router, pausing.router,
    failures.router, workers.router, schedules.router,
)  # fmt: skip
"""The routers of all pages."""

PAGE_ROLES: Final[Mapping[str, Role]] = {
    "GET /ui/static/{name}": Role.VIEWER,
    "GET /ui/tasks": Role.VIEWER,
    "GET /ui/": Role.VIEWER,
    "GET /ui/queues": Role.VIEWER,
    "GET /ui/queues/{queue:path}": Role.VIEWER,
    "GET /ui/names": Role.VIEWER,
    "GET /ui/names/{name:path}": Role.VIEWER,
    "GET /ui/failures": Role.VIEWER,
    "GET /ui/workers": Role.VIEWER,
    "GET /ui/schedules": Role.VIEWER,
    "GET /ui/schedules/{act}": Role.VIEWER,
    "POST /ui/schedules/{act}": Role.OPERATOR,
    "GET /ui/pause": Role.VIEWER,
    "GET /ui/resume": Role.VIEWER,
    "POST /ui/pause": Role.OPERATOR,
    "POST /ui/resume": Role.OPERATOR,
}
"""Which role each needs. One without a line here needs an admin; a test wants a line for each."""
