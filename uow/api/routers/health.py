"""Whether the process lives, and whether it can do its work."""

import asyncio
import logging
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from uow.api.deps import ClientDep, DatabaseDep
from uow.api.problems import RETRY_AFTER, problem
from uow.broker.redis import RedisClient

logger = logging.getLogger(__name__)

PATHS = ("/health/live", "/health/ready")

ANSWER_SECONDS = 1.0
"""A server that takes longer counts as away: probes do not wait longer themselves."""

router = APIRouter(prefix="/health", tags=["health"])


_OK: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": {"status": "ok"}}}}
}


@router.get("/live", responses=_OK)
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready", responses=_OK)
async def ready(db: DatabaseDep, client: ClientDep) -> JSONResponse:
    """Postgres and Redis answer; otherwise 503, and which of them does not."""
    checks = {
        "Postgres": asyncio.create_task(db.ping()),
        "Redis": asyncio.create_task(_ping(client.redis)),
    }
    try:
        _, late = await asyncio.wait(checks.values(), timeout=ANSWER_SECONDS)
    finally:
        for check in checks.values():
            check.cancel()
    away = [server for server, check in checks.items() if check in late or check.exception()]
    response = _answer(away)
    response.background = BackgroundTask(_end, late)  # which may take longer than a probe waits
    return response


def _answer(away: list[str]) -> JSONResponse:
    if not away:
        return JSONResponse({"status": "ok"})
    detail = f"no answer from {' and '.join(away)} within {ANSWER_SECONDS:g} s"
    logger.warning("not ready: %s", detail)
    return problem(503, detail, headers=RETRY_AFTER)


async def _ping(redis: RedisClient) -> None:
    await redis.ping()


async def _end(cancelled: set[asyncio.Task[None]]) -> None:
    await asyncio.gather(*cancelled, return_exceptions=True)
