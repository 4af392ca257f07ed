"""The task module that the worker processes of these tests load."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

from sqlalchemy import text

from uow import Backoff, TaskContext, task

INSERT = text("INSERT INTO effect VALUES (:what)")

COUNT = text("UPDATE counter SET n = n + 1")

UNANNOUNCED = text(
    "INSERT INTO task (name, args) "
    "VALUES ('conform.effect', jsonb_build_object('what', CAST(:what AS text)))"
)

STATES = text("SELECT state, tries FROM task")

LEFT = text("SELECT count(*) FROM task WHERE settled_at IS NULL")


@task("conform.effect")
async def effect(ctx: TaskContext, what: str) -> str:
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": what})
    return what


@task("conform.hold")
async def hold(ctx: TaskContext, what: str, seconds: float = 3600.0) -> None:
    """Has an effect, says that it runs, and then takes its time in its first attempt."""
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": what})
    await ctx["task"].report(attempt=ctx["task"].attempt)
    if ctx["task"].attempt == 1:
        await asyncio.sleep(seconds)


@task("conform.hold_until")
async def hold_until(ctx: TaskContext, what: str, gate: str) -> None:
    """As `hold`, until the file `gate` is there: a way that leads through no server."""
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": what})
    await ctx["task"].report(attempt=ctx["task"].attempt)
    while ctx["task"].attempt == 1 and not Path(gate).exists():
        await asyncio.sleep(0.01)


@task("conform.count", timeout=6, max_tries=1)
async def count(ctx: TaskContext) -> None:
    """Changes a row, which its first attempt then keeps locked in a long statement."""
    async with ctx["db"].get_session() as session:
        await session.execute(COUNT)
        await ctx["task"].report(attempt=ctx["task"].attempt)
        if ctx["task"].attempt == 1:
            await session.execute(text("SELECT pg_sleep(3600)"))


@task("conform.count_and_wait", timeout=6, max_tries=1)
async def count_and_wait(ctx: TaskContext) -> None:
    """Changes a row, which its first attempt then keeps locked in an idle transaction."""
    async with ctx["db"].get_session() as session:
        await session.execute(COUNT)
    await ctx["task"].report(attempt=ctx["task"].attempt)
    if ctx["task"].attempt == 1:
        await asyncio.sleep(3600)


@task("conform.linger")
async def linger(ctx: TaskContext) -> None:
    """Runs until it is stopped, in every attempt."""
    await ctx["task"].report(attempt=ctx["task"].attempt)
    await asyncio.sleep(3600)


@task("conform.convert_cancellation", max_tries=1)
async def convert_cancellation(ctx: TaskContext) -> None:
    """Makes an error of its own of being interrupted."""
    await ctx["task"].report(attempt=ctx["task"].attempt)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise ConnectionAbortedError("the upload did not end") from None


@task("conform.wait_for_a_thread")
async def wait_for_a_thread(ctx: TaskContext) -> None:
    """Blocking code without a time limit: nobody can stop a thread."""
    await ctx["task"].report(attempt=ctx["task"].attempt)
    await asyncio.to_thread(time.sleep, 30)


@task("conform.ignore_cancellation")
async def ignore_cancellation(ctx: TaskContext, what: str) -> None:
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": what})
    await ctx["task"].report(attempt=ctx["task"].attempt)
    while ctx["task"].attempt == 1:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


@task("conform.block_the_loop_until")
async def block_the_loop_until(ctx: TaskContext, what: str, gate: str) -> None:
    """As `hold_until`, and nothing else turns in the process's loop meanwhile."""
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": what})
    await ctx["task"].report(attempt=ctx["task"].attempt)
    while ctx["task"].attempt == 1 and not Path(gate).exists():
        time.sleep(0.01)


@task("conform.poison")
async def poison(ctx: TaskContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task("conform.flaky_sql", backoff=Backoff(base=0))
async def flaky_sql(ctx: TaskContext, what: str, state: str) -> None:
    """Meets an SQL error of the infrastructure in its first two attempts, after its effect."""
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": what})
        if ctx["task"].attempt <= 2:
            await session.execute(
                text(f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{state}'; END $$")
            )


@task("conform.brief")
async def brief(ctx: TaskContext, what: str) -> None:
    """A few milliseconds, so that cancels meet it at every point."""
    await asyncio.sleep(random.random() * 0.004)
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": what})
    await asyncio.sleep(random.random() * 0.004)


@task("conform.cancel_everything", durable=False)
async def cancel_everything(ctx: TaskContext) -> None:
    """Takes what runs in the process for its own."""
    for one in asyncio.all_tasks():
        one.cancel()
