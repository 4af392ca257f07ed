"""Tasks that start processes in every way that Python has."""

import asyncio
import multiprocessing
import os
import socket
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

from sqlalchemy import text

from tests.conformance.tasks import INSERT
from uow import TaskContext, task

NUMBERS = (-1, 2, -3)
"""Their `abs` is taken in the children: to spawn one for a function of ours would import us all."""


@task("fork.terminate", max_tries=1)
async def terminate(ctx: TaskContext) -> int | None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    await asyncio.to_thread(child.join, 20)
    return child.exitcode


@task("fork.pool", max_tries=1)
async def pool(ctx: TaskContext, method: str) -> list[int]:
    def work() -> list[int]:
        with multiprocessing.get_context(method).Pool(2) as children:
            return children.map(abs, NUMBERS)

    return await asyncio.to_thread(work)


@task("fork.executor", max_tries=1)
async def executor(ctx: TaskContext, method: str) -> list[int]:
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as children:
        return await asyncio.gather(*(loop.run_in_executor(children, abs, n) for n in NUMBERS))


@task("fork.connections", max_tries=1)
async def connections(ctx: TaskContext) -> list[str]:
    """The servers that a fork is connected to, in the middle of a transaction."""
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": "forked"})
        ours, theirs = multiprocessing.Pipe()
        if os.fork() == 0:
            theirs.send([str(peer) for peer in map(peer_of, open_descriptors()) if peer])
            os._exit(0)
        return await asyncio.to_thread(ours.recv)


def open_descriptors() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


def peer_of(descriptor: int) -> object:
    with suppress(OSError):
        connection = socket.socket(fileno=descriptor)
        try:
            return connection.getpeername()
        finally:
            connection.detach()
    return None


@task("fork.stray", max_tries=1)
async def stray(ctx: TaskContext, way: str) -> int:
    """A fork that goes on as if it were the worker; its exit code."""
    async with ctx["db"].get_session() as session:
        await session.execute(INSERT, {"what": way})
    if (child := os.fork()) == 0:
        match way:
            case "returns":
                return 0
            case "exits":
                sys.exit(0)
            case "queries":
                async with ctx["db"].get_session() as session:
                    await session.execute(text("SELECT 1"))
    return os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1])
