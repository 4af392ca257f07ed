"""The pages as a whole: their routers, who may see which, and the way to them."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter

from uow.api.pages import login, static_files, tasks
from uow.api.roles import Role

OPEN_PAGES: Final[tuple[APIRouter, ...]] = (login.front, login.router, static_files.router)
"""Whoever may ask for these needs no role."""

PAGES: Final[tuple[APIRouter, ...]] = (tasks.router,)
"""The routers of all others."""

PAGE_ROLES: Final[Mapping[str, Role]] = {
    "GET /ui/tasks": Role.VIEWER,
}
"""Which role each needs. One without a line here needs an admin; a test wants a line for each."""
