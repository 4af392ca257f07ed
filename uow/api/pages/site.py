"""The pages as a whole: their routers, who may see which, and the way to them."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter

from uow.api.pages import (
    audit,
    bulk,
    find,
    login,
    several,
    static_files,
    task,
    task_acts,
    tasks,
    users,
)
from uow.api.roles import Role

OPEN_PAGES: Final[tuple[APIRouter, ...]] = (login.front, login.router, static_files.router)
"""Whoever may ask for these needs no role."""

PAGES: Final[tuple[APIRouter, ...]] = (
    tasks.router, several.router, task.router, task_acts.router, bulk.router, users.router,
    audit.router, find.router,
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
}
"""Which role each needs. One without a line here needs an admin; a test wants a line for each."""
