"""Lifespans for the worker processes of `test_shutdown`: one needs a moment to be left."""

import asyncio
import logging
from collections.abc import AsyncIterator

from uow import ProcessContext, lifespan

logger = logging.getLogger("uow.lifespan_tasks")  # which a worker shows


@lifespan
async def outer(ctx: ProcessContext) -> AsyncIterator[None]:
    yield
    logger.info("outer was left")


@lifespan
async def needs_a_moment(ctx: ProcessContext) -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0.3)
    logger.info("inner was left")
