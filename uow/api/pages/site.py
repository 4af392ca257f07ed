"""The pages as a whole: their routers, who may see which, and the way to them."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter

from uow.api.pages import (
    audit,
    bulk,
    failures,
    find,
    loads,
    login,
    overview,
    pausing,
    schedules,
    several,
    static_files,
    task,
    task_acts,
    tasks,
    users,
    workers,
)
from uow.api.roles import Role

OPEN_PAGES: Final[tuple[APIRouter, ...]] = (login.front, login.router, static_files.router)
"""Whoever may ask for these needs no role."""

PAGES: Final[tuple[APIRouter, ...]] = (
    overview.router, tasks.router, several.router, task.router, task_acts.router, bulk.router,
    loads.router, pausing.router, users.router, schedules.router, workers.router,
    failures.router, audit.router, find.router,
)  # fmt: skip
"""The routers of all others."""

PAGE_ROLES: Final[Mapping[str, Role]] = {
    "GET /ui/tasks": Role.VIEWER,
    "GET /ui/tasks/{task_id}": Role.VIEWER,
    "POST /ui/tasks/{task_id}/reveal": Role.ADMIN,
    "GET /ui/tasks/{task_id}/{act}": Role.OPERATOR,
    "POST /ui/tasks/{task_id}/{act}": Role.OPERATOR,
    "POST /ui/tasks/act": Role.OPERATOR,
    "GET /ui/bulk": Role.VIEWER,
    "POST /ui/bulk/preview": Role.OPERATOR,
    "GET /ui/bulk/{bulk_id}": Role.VIEWER,
    "POST /ui/bulk/{bulk_id}/confirm": Role.OPERATOR,
    "POST /ui/bulk/{bulk_id}/stop": Role.OPERATOR,
    "GET /ui/users": Role.VIEWER,
    "GET /ui/users/{user:path}": Role.VIEWER,
    "POST /ui/users/{user:path}/pause": Role.OPERATOR,
    "POST /ui/users/{user:path}/resume": Role.OPERATOR,
    "GET /ui/audit": Role.OPERATOR,
    "GET /ui/find": Role.VIEWER,
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
