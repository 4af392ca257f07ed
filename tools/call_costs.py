"""What a call of a task function costs in a thread and in a child process, beside the event loop.

The same functions side by side, on a throwaway Postgres; medians, in µs. Run it in a clone:

    python tools/call_costs.py [calls]
"""

import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.integration.cpu_tasks import add
from uow import Database, SyncTaskContext, TaskContext, TaskFunction, task
from uow.attempt.calling import Calling
from uow.attempt.unit_of_work import UnitOfWork
from uow.embedded import EmbeddedPostgres
from uow.tasks.context import RunningTask
from uow.tasks.registry import Registry

ONE = text("SELECT 1")
MANY = 11
REGISTRY = Registry()


@task("on.the.loop", registry=REGISTRY)
async def on_the_loop(ctx: TaskContext, statements: int) -> None:
    """Say so many statements."""
    if statements:
        async with ctx["db"].get_session() as session:
            for _ in range(statements):
                await session.execute(ONE)


@task("in.a.thread", registry=REGISTRY)
def in_a_thread(ctx: SyncTaskContext, statements: int) -> None:
    """Say so many statements."""
    if statements:
        with ctx["db"].get_session() as session:
            for _ in range(statements):
                session.execute(ONE)


async def seconds(
    calling: Calling, db: Database, function: TaskFunction[..., Any], given: dict[str, Any]
) -> float:
    """One call, without its commit."""
    work = UnitOfWork(db)
    running = RunningTask(
        db=db,
        id=None,
        name="cost",
        attempt=1,
        tries=0,
        user_id=None,
        idempotency_key="cost",
        queue="arq:queue",
    )
    ctx = {
        "db": work, "task": running, "job_id": "cost", "job_try": 1, "score": 0,
        "enqueue_time": datetime.now(UTC),
    }  # fmt: skip
    began = time.perf_counter()
    await calling.call(function, ctx, given)
    took = time.perf_counter() - began
    await work.commit()
    return took


async def main(calls: int) -> None:
    """Print the medians."""
    kinds: list[tuple[TaskFunction[..., Any], dict[str, Any]]] = [
        (function, {"statements": n})
        for n in (0, 1, MANY)
        for function in (on_the_loop, in_a_thread)
    ]
    kinds.append((add, {"a": 1, "b": [2]}))
    calling = Calling(1, 1)
    with EmbeddedPostgres() as server:
        async with Database(server.url) as db:
            took: list[list[float]] = [[] for _ in kinds]
            for n in range(calls + 20):
                for kept, (function, given) in zip(took, kinds, strict=True):
                    one = await seconds(calling, db, function, given)
                    if n >= 20:  # the first ones prepare statements and start the child
                        kept.append(one * 1e6)
    calling.close()
    loop_0, thread_0, loop_1, thread_1, loop_many, thread_many, process = map(
        statistics.median, took
    )
    print(f"no statement:   loop {loop_0:6.0f}   thread {thread_0:6.0f}")
    print(f"1 statement:    loop {loop_1:6.0f}   thread {thread_1:6.0f}")
    print(f"{MANY} statements:  loop {loop_many:6.0f}   thread {thread_many:6.0f}")
    each = ((thread_many - thread_1) - (loop_many - loop_1)) / (MANY - 1)
    print(f"a thread costs {thread_0 - loop_0:.0f} per call and {each:.0f} per statement more")
    print(f"a warm child process: {process:.0f} per call")


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if sys.argv[1:] else 500))
