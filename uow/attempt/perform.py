"""Calls the task function and turns whatever happens into an outcome."""

import asyncio
import random
from typing import Any

from uow import exhaustion
from uow.attempt.work import Work
from uow.broker import codec
from uow.db.failures import Cause, Kind
from uow.errors import ParametersDiffer, TaskTimeout, WorkerError
from uow.interruption import is_interrupted
from uow.tasks.context import ProcessContext
from uow.tasks.function import TaskFunction
from uow.tasks.outcome import Completed, Outcome
from uow.tasks.retry import decide


class OtherVersion(Exception):
    """The arguments are for another version of the function, so it has not been called.

    Args:
        fault: In what they differ.
    """

    def __init__(self, fault: ParametersDiffer) -> None:
        super().__init__(fault)
        self.fault = fault


async def perform(
    function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: str, rng: random.Random
) -> Outcome:
    """Run one attempt of `function` with `arguments` (a JSON object).

    The timeout ends with the function: the commit is not in it. So does the unit of work. Whatever
    user code raises has an outcome, also what is no `Exception`, as a panic of Rust code is.

    Raises:
        OtherVersion: The function has not the parameters that the arguments are for.
        asyncio.CancelledError: The attempt was interrupted from outside, whatever the function has
            made of it, unless it has returned a value all the same.
    """
    work: Work = ctx["db"]
    tries, most_bytes = ctx["task"].tries, ctx["settings"].max_payload_bytes
    try:
        result = await _call(function, ctx, arguments)
        work.sessions.refuse_if_open()
        written = function.signature.encode_result(result)
        codec.check_size(written, most_bytes)
        return Completed(written)
    except (asyncio.CancelledError, OtherVersion):
        raise
    except BaseException as error:
        if is_interrupted(asyncio.current_task()):
            raise asyncio.CancelledError("the attempt was interrupted") from error
        if isinstance(error, OSError):
            exhaustion.here.look()
        return decide(error, tries, function.policy, rng)
    finally:
        work.sessions.end()
        work.after_commit.end()


def interruption() -> Cause | None:
    """Why the attempt that asks was cancelled; None: from outside, which says nothing about it.

    Else it may be its own doing, and must not go on for ever.
    """
    return (
        None if is_interrupted(asyncio.current_task()) else Cause("CancelledError", Kind.STATEMENT)
    )


async def _call(function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: str) -> object:
    called = function.function(ctx, **_decoded(function, arguments))  # type: ignore[arg-type]
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


def _decoded(function: TaskFunction[Any, Any], arguments: str) -> dict[str, Any]:
    try:
        return function.signature.decode_arguments(arguments)
    except ParametersDiffer as error:
        raise OtherVersion(error) from None
