"""What becomes of a job when the work in its slot has ended."""

import asyncio
from collections.abc import Awaitable, Callable

import arq

from uow.attempt.answer import handing_back
from uow.attempt.delivery import Delivery
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.broker.claims import NO_RESULT, Action
from uow.errors import TaskFailed
from uow.fast.engine import Engine


async def answered(
    engine: Engine,
    runtime: Runtime,
    held: Held,
    delivery: Delivery,
    work: Callable[[], Awaitable[None]],
) -> None:
    """Run `work` and let Redis do what it tells arq, unless it has seen to the job's end itself."""
    action: Action = "done"
    number = NO_RESULT
    try:
        with handing_back(runtime, delivery):
            await work()
        if held.ends:
            return
        engine.jobs_complete += 1
    except arq.Retry as again:
        engine.jobs_retried += 1
        action, number = "again", again.defer_score or held.place
    except asyncio.CancelledError:
        engine.jobs_retried += 1
        action, number = "again", held.place
    except TaskFailed:
        engine.jobs_failed += 1
    payload = held.payload if action == "again" else b""
    engine.finish(held, held.finish(action, number, payload))
