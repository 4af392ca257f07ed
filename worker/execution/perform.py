"""Calls the task function and turns whatever happens into an outcome."""

import asyncio
import random
from typing import Any

from worker import exhaustion
from worker.broker import codec
from worker.errors import TaskTimeout, WorkerError
from worker.execution.context import ProcessContext
from worker.execution.definition import TaskFunction
from worker.execution.outcome import Completed, Outcome
from worker.execution.retry import decide


async def perform(
    function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: str, rng: random.Random
) -> Outcome:
    """Run one attempt of `function` with `arguments` (a JSON object).

    The timeout ends with the function: the commit is not in it.

    Raises:
        asyncio.CancelledError: The attempt was interrupted from outside.
    """
    try:
        result = await _call(function, ctx, arguments)
        written = function.signature.encode_result(result)
        codec.check_size(written, ctx["settings"].max_payload_bytes)
        return Completed(written)
    except Exception as error:
        if isinstance(error, OSError):
            exhaustion.here.look()
        return decide(error, ctx["task"].tries, function.policy, rng)


async def _call(function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: str) -> object:
    called = function.function(ctx, **function.signature.decode_arguments(arguments))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(function.timeout) as limit:
            return await called
    except TimeoutError as error:
        if limit.expired():
            raise TaskTimeout(f"{function.name} ran longer than {function.timeout:g} s") from error
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody interrupts us: handed back as if somebody did, it would come back for ever.
        raise WorkerError(f"{function.name} awaited something that was cancelled") from error
    except SystemExit as error:
        raise WorkerError(f"{function.name} called sys.exit({error.code})") from error
