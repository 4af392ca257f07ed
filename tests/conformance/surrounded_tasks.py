"""Tasks with a middleware around, and with what waits for their commit, for `test_kills`."""

import asyncio
from pathlib import Path

from tests.conformance.tasks import INSERT
from uow import CallNext, TaskContext, middleware, task


async def wait_for(gate: str) -> None:
    while not Path(gate).exists():
        await asyncio.sleep(0.01)


async def write(ctx: TaskContext, what: str) -> None:
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": what})


@middleware
async def around(ctx: TaskContext, call_next: CallNext) -> object:
    """Writes before and after; in between it says that it runs, and the first one waits."""
    if ctx["task"].name != "surrounded":
        return await call_next()
    await write(ctx, "before")
    gate = await call_next()
    await write(ctx, "after")
    await ctx["task"].report(attempt=ctx["task"].attempt)
    if ctx["task"].attempt == 1:
        await wait_for(str(gate))
    return gate


@task("surrounded")
async def surrounded(ctx: TaskContext, gate: str) -> str:
    await write(ctx, "function")
    return gate


@task("called.back")
async def called_back(ctx: TaskContext, gate: str, effect: bool) -> None:
    """What waits for its commit waits for a file; without an effect, it is committed in a group."""
    if effect:
        await write(ctx, "function")

    async def callback() -> None:
        await wait_for(gate)

    ctx["task"].on_commit(callback)
