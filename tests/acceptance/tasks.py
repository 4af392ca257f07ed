"""The task module that the worker processes of these tests load."""

import asyncio
import time

from sqlalchemy import text

from uow import Cancel, TaskContext, task


@task("accept.effect")
async def effect(ctx: TaskContext, what: str) -> str:
    async with ctx["db"].get_session() as session:
        await session.execute(text("INSERT INTO effect VALUES (:what)"), {"what": what})
    return what


@task("accept.endless")
async def endless(ctx: TaskContext) -> None:
    async with ctx["db"].get_session() as session:
        await session.execute(text("INSERT INTO effect VALUES ('endless')"))
    await ctx["task"].report(running=True)
    if ctx["task"].attempt == 1:
        await asyncio.Event().wait()


@task("accept.cancels")
async def cancels(ctx: TaskContext) -> None:
    raise Cancel("nobody wants it")


@task("accept.plain", durable=False)
async def plain(ctx: TaskContext, n: int) -> int:
    return 2 * n


@task("accept.ship")
async def ship(
    ctx: TaskContext, zip_code: str, items: list[int], note: str = "", weight: int | None = 0
) -> None: ...


@task("accept.chain")
async def chain(ctx: TaskContext, length: int) -> None:
    if length:
        async with ctx["db"].get_session() as session:
            await chain.enqueue(session, length=length - 1)


@task("accept.block")
async def block(ctx: TaskContext, seconds: float) -> None:
    """Keeps the event loop."""
    time.sleep(seconds)
