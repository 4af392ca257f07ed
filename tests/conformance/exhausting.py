"""A task module whose process is less patient with a lack of descriptors than others."""

import asyncio
import os
import resource
from contextlib import suppress

from uow import TaskContext, exhaustion, task

if "PATIENCE" in os.environ:
    exhaustion.LIMIT_SECONDS = float(os.environ["PATIENCE"])
    exhaustion.CALM_SECONDS = 0.5


@task("exhausting.limit", durable=False)
async def limit(ctx: TaskContext) -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@task("exhausting.leak")
async def leak(ctx: TaskContext) -> None:
    """Opens whatever it can, and keeps it."""
    if ctx["task"].attempt > 1:
        return
    with suppress(OSError):
        while True:
            os.open(os.devnull, os.O_RDONLY)
    await ctx["task"].report(attempt=1)
    await asyncio.sleep(3600)
