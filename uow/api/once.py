"""`Idempotency-Key`: a request that comes again with the same one is answered the same, done once.

The act takes the key in its own transaction (`uow.acts.once`); what was answered is kept beside it.
A refusal is an answer, too. That a server behind us was away is none: it is to be tried again.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, HTTPException
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from uow.acts.actor import Actor
from uow.acts.once import AlreadyAsked, AskedOnce
from uow.api.actor import ActorDep, IdempotencyKey
from uow.api.deps import DatabaseDep, get_database
from uow.api.entity_tags import tagged
from uow.api.problems import http_error_of
from uow.db import answers
from uow.db.answers import KeptAnswer
from uow.db.failures import PASSING
from uow.names import is_storable

logger = logging.getLogger(__name__)

REPLAYED = {"Idempotent-Replayed": "true"}
"""A header of answers that were given before."""

_FIRST_REFUSAL, _LAST_REFUSAL = 400, 499

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _Replay(Exception):
    """The key is known: answer as then."""

    def __init__(self, kept: KeptAnswer) -> None:
        super().__init__()
        self.kept = kept


async def get_actor_once(
    request: Request, by: ActorDep, db: DatabaseDep, key: IdempotencyKey = None
) -> Actor:
    """Who acts, and under which idempotency key.

    Raises:
        HTTPException: 422, the key is none, or was used for another request.
    """
    if key is None:
        return by
    if not is_storable(key):
        raise HTTPException(422, "that is no idempotency key: text of 1 to 255 characters")
    route: APIRoute = request.scope["route"]
    once = AskedOnce(by.name, key, await _digest(request), route.status_code or 200)
    kept = await answers.read(db, once.who, once.key)
    if kept is not None:
        _check(once, kept)
        raise _Replay(kept)
    request.state.once = once
    return replace(by, once=once)


OnceActorDep = Annotated[Actor, Depends(get_actor_once)]
"""Of routes that act; their routers have `AnsweringRoute`."""


class AnsweringRoute(APIRoute):
    """A route whose answers are tagged, or known again by their idempotency key."""

    def get_route_handler(self) -> Handler:
        """As FastAPI's, with that around it."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.method in ("GET", "HEAD"):
                return tagged(request, await inner(request))
            try:
                return await _answer_once(request, inner)
            except _Replay as replay:
                return _again(replay.kept)

        return handle


async def _answer_once(request: Request, inner: Handler) -> Response:
    try:
        response = await inner(request)
    except AlreadyAsked:
        await _replay(request)
        raise
    except Exception as error:
        told = error if isinstance(error, HTTPException) else http_error_of(error)
        if told is not None and _FIRST_REFUSAL <= told.status_code <= _LAST_REFUSAL:
            await _keep(request, told.status_code, json.dumps({"detail": told.detail}))
        raise
    body = bytes(response.body).decode()
    await _keep(request, response.status_code, body or None)
    return response


async def _keep(request: Request, status: int, body: str | None) -> None:
    """Keep an answer; should there be another one already, that is the one to give."""
    once: AskedOnce | None = getattr(request.state, "once", None)
    if once is None:
        return
    db = get_database(request)
    if once.taken and status < _FIRST_REFUSAL:
        if body is not None:
            try:
                await answers.complete(db, once.who, once.key, body)
            except PASSING as error:  # it is done, and whoever has asked hears so
                logger.warning("an answer is not kept under its idempotency key: %s", error)
    elif not await answers.take(db, once.who, once.key, KeptAnswer(once.request, status, body)):
        await _replay(request)


async def _replay(request: Request) -> None:
    once: AskedOnce = request.state.once
    kept = await answers.read(get_database(request), once.who, once.key)
    if kept is not None:
        _check(once, kept)
        raise _Replay(kept)


def _check(once: AskedOnce, kept: KeptAnswer) -> None:
    if kept.request != once.request:
        raise HTTPException(
            422, f"the idempotency key {once.key!r} was used for another request: take a new one"
        )


def _again(kept: KeptAnswer) -> Response:
    if kept.status >= _FIRST_REFUSAL:
        raise HTTPException(kept.status, json.loads(kept.body or "{}").get("detail"), REPLAYED)
    if kept.body is None and kept.status != 204:
        raise HTTPException(
            409,
            "this was done under its idempotency key, but the answer was lost; the audit has it",
        )
    media = None if kept.body is None else "application/json"
    return Response(kept.body, kept.status, REPLAYED, media)


async def _digest(request: Request) -> str:
    """Of what is asked: the method, the path, the query and the body."""
    url = request.url
    asked = f"{request.method} {url.path}?{url.query}\n".encode() + await request.body()
    return hashlib.sha256(asked).hexdigest()
