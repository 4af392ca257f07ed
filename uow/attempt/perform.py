"""Calls the task function and turns whatever happens into an outcome."""

import asyncio
import random
from functools import partial
from typing import Any, Protocol

from uow import exhaustion
from uow.attempt.calling import Calling
from uow.attempt.middleware import surrounded
from uow.attempt.work import Work
from uow.broker import codec
from uow.db.failures import Cause, Kind
from uow.errors import ParametersDiffer, TaskTimeout, WorkerError
from uow.interruption import is_interrupted
from uow.settings.environment import Settings
from uow.tasks.context import ProcessContext, RunningTask
from uow.tasks.function import TaskFunction
from uow.tasks.headers import inherit
from uow.tasks.outcome import Completed, HandedBack, Outcome, Stray
from uow.tasks.registry import Registry
from uow.tasks.retry import decide


class Surroundings(Protocol):
    """What the call of a function needs of its process; `Runtime` is one."""

    @property
    def registry(self) -> Registry:
        """Where the middleware is."""

    @property
    def settings(self) -> Settings:
        """How large a result may be."""

    @property
    def calling(self) -> Calling:
        """Calls functions, and interrupts those that take too long."""

    @property
    def rng(self) -> random.Random:
        """Spreads retries."""


async def perform(
    runtime: Surroundings, function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: str
) -> Outcome:
    """Run one attempt of `function` with `arguments` (a JSON object).

    The timeout ends with the function: the commit is not in it. So does the unit of work. Whatever
    user code raises has an outcome, also what is no `Exception`, as a panic of Rust code is. One
    that was interrupted from outside is handed back, whatever the function has made of it, unless
    it has returned a value all the same.
    """
    # Read now: the function may do anything to its context.
    work: Work = ctx["db"]
    task: RunningTask = ctx["task"]
    try:
        try:
            given = function.signature.decode_arguments(arguments)
        except ParametersDiffer as error:
            return Stray(error)
        if task.headers:
            inherit(task.headers)
        result = await _call(runtime, function, ctx, given)
        work.sessions.refuse_if_open()
        written = function.signature.encode_result(result)
        codec.check_size(written, runtime.settings.max_payload_bytes)
        return Completed(written)
    except BaseException as error:
        if (stopped := _stopped_by(error)) is not None:
            return stopped
        if isinstance(error, OSError):
            exhaustion.here.look()
        return decide(error, task.tries, function.policy, runtime.rng)
    finally:
        work.sessions.end()
        work.after_commit.end()


def _stopped_by(error: BaseException) -> HandedBack | None:
    """What becomes of an attempt that was cancelled; None: it was not.

    From outside, that says nothing about it. Else it may be its own doing, and must not go on for
    ever.
    """
    from_outside = is_interrupted(asyncio.current_task())
    if not from_outside and not isinstance(error, asyncio.CancelledError):
        return None
    cause = None if from_outside else Cause("CancelledError", Kind.STATEMENT)
    cancelled = asyncio.CancelledError("the attempt was interrupted")
    cancelled.__cause__ = error
    return HandedBack(0.0, "the attempt was interrupted", cause=cause, stopped_by=cancelled)


async def _call(
    runtime: Surroundings,
    function: TaskFunction[Any, Any],
    ctx: ProcessContext,
    arguments: dict[str, Any],
) -> object:
    """Call the function, with the middleware around it."""
    call, around = runtime.calling.call, runtime.registry.middleware
    deadline = runtime.calling.deadlines.within(function.timeout)
    try:
        with deadline:
            if not around:
                return await call(function, ctx, arguments)
            return await surrounded(around, ctx, partial(call, function, ctx, arguments))()
    except TimeoutError as error:
        if deadline.is_over:
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
