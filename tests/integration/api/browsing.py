"""A browser, as far as pages see one: it wants HTML, says where a form comes from, has cookies."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import Morsel, SimpleCookie
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI
from starlette.requests import Request

from tests.integration.api.conftest import calling
from uow.api.access import CallerDep
from uow.api.logins import COOKIE
from uow.api.page_paths import LOGIN
from uow.app import AppParts

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OURS = {**HTML, "sec-fetch-site": "same-origin"}

some_pages = APIRouter(prefix="/ui")
"""Whoever is let in may call these."""

done: list[str] = []
"""Who has sent the form of those pages."""


@some_pages.get("/seen")
async def seen(request: Request, caller: CallerDep) -> dict[str, str]:
    return {
        "name": caller.name,
        "role": caller.role,
        "form_token": request.state.form_token,
        "logged_in": str(getattr(request.state, "logged_in", False)),
    }


@some_pages.post("/done")
async def do(caller: CallerDep) -> str:
    done.append(caller.name)
    return caller.name


PARTS = AppParts(routers=["tests.integration.api.browsing:some_pages"])


@asynccontextmanager
async def browsing(
    app: FastAPI, host: str = "https://api.example", address: str = "203.0.113.7", **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    options = {"headers": OURS, **options}
    async with calling(app, address, base_url=host, **options) as http:
        yield http


async def log_in(http: httpx.AsyncClient, token: str, **fields: str) -> httpx.Response:
    return await http.post(LOGIN, data={"token": token, **fields})


async def form_token(http: httpx.AsyncClient, **options: Any) -> str:
    found: str = (await http.get("/ui/seen", **options)).json()["form_token"]
    return found


def cookie_of(response: httpx.Response) -> Morsel[str]:
    """The one cookie that the response sets."""
    [header] = response.headers.get_list("set-cookie")
    return SimpleCookie(header)[COOKIE]


def with_cookie(value: str) -> dict[str, str]:
    return {"cookie": f"{COOKIE}={value}"}


def alert(response: httpx.Response) -> str:
    """What the page says at once to whoever has it read out."""
    [found] = re.findall(r'role="alert"[^>]*>([^<]+)<', response.text)
    return str(found)
