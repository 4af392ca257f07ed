"""From arq's call of a job to the end of its attempt, under either engine.

`run` is what arq calls. A job with a row goes this way:

    hold the lease -> start -> perform -> settle -> answer

and our own engine comes in where it has started a whole batch (`go_on`).
"""

from typing import Any
from uuid import UUID

from uow.attempt import foreign
from uow.attempt.answer import fail_unstarted, hand_back, handing_back, tell_no_attempt
from uow.attempt.attempt import Attempt
from uow.attempt.completer import Completer, Guarded
from uow.attempt.delivery import Delivery, HeldJob
from uow.attempt.patience import forget_not_alone, note_not_alone, patience_for
from uow.attempt.pauses import AGAIN_SECONDS
from uow.attempt.rowless import run_rowless
from uow.attempt.running import Held
from uow.attempt.runtime import Host, Runtime
from uow.attempt.solo import NotAlone
from uow.attempt.strays import wait_rowless
from uow.broker import codec
from uow.db.attempts import run_alone
from uow.errors import InvalidArguments, ParametersDiffer, StartRefused
from uow.failpoints import reach
from uow.tasks.context import ProcessContext
from uow.tasks.function import TaskFunction
from uow.tasks.outcome import HandedBack
from uow.tasks.retry import HAND_BACK_SECONDS
from uow.telemetry import subject
from uow.telemetry.sentry import isolated

GUARDED = Guarded()


async def run(host: Host, name: str, ctx: ProcessContext, /, *args: Any, **kwargs: Any) -> object:
    """Run a job of the task function `name`; called by arq.

    Raises:
        arq.Retry: The job is to be delivered again.
        TaskFailed: The task has failed for good.
    """
    delivery = Delivery.from_call(name, ctx, args, kwargs)
    queue = host.runtime.leases.queue_of(delivery.job_id)
    subject.here(delivery.job_id, queue).is_delivery(name, delivery.row_id)
    return await isolated(_run(host.runtime, ctx, delivery))


async def _run(runtime: Runtime, ctx: ProcessContext, delivery: Delivery) -> object:
    function = runtime.registry[delivery.name]
    if delivery.row_id is None and not function.durable:
        return await run_rowless(runtime, function, ctx, delivery)
    with handing_back(runtime, delivery):
        reach("claimed")
        held = _held(runtime, delivery, await _row_of(runtime, function, delivery))
        if runtime.leases.holds(delivery.job_id):
            # Taken for dead while it was stopped, this process is delivered what it still runs.
            raise hand_back(HAND_BACK_SECONDS[0])
        async with runtime.leases.holding(held):
            await run_held(runtime, HeldJob(ctx, delivery, held))
    return None


async def run_held(runtime: Runtime, job: HeldJob, completer: Completer = GUARDED) -> None:
    """Run a job of a task that has a row, from the start of its attempt to the answer.

    Raises:
        arq.Retry, TaskFailed: As `run`.
    """
    if await runtime.pauses.hold(runtime.db, [job.task_id]):
        if job.delivery.job_id != str(job.task_id):  # a stock client waits for this very job
            raise hand_back(AGAIN_SECONDS)
        return  # its row waits for the end of a pause, and its job comes again then
    with runtime.solo.entered() as seat:
        reach("leased")
        try:
            attempt = await Attempt.start(runtime, job, seat)
        except StartRefused as error:
            await fail_unstarted(runtime, job.delivery, job.task_id, error)
            return
        reach("started")
        if attempt is None:
            await tell_no_attempt(runtime, job.delivery, job.task_id)
        else:
            await go_on(attempt, completer)


async def go_on(attempt: Attempt, completer: Completer) -> None:
    """From the function's call to the answer; a suspect's without neighbours.

    Raises:
        arq.Retry, TaskFailed, asyncio.CancelledError: As `Completer.complete`.
    """
    try:
        if attempt.is_suspect:
            await _go_on_alone(attempt)
        else:
            await completer.complete(attempt, await attempt.perform())
    finally:
        await attempt.leave()


async def _go_on_alone(attempt: Attempt) -> None:
    """As `go_on`, by itself; handed back if its neighbours do not end in time."""
    runtime, task_id = attempt.runtime, attempt.id
    try:
        with runtime.solo.reserved():
            await runtime.solo.emptied(await patience_for(runtime.redis, task_id))
            await run_alone(runtime.db, task_id, attempt.task.attempt)
            settled = await attempt.settle(await attempt.perform())
    except NotAlone as error:
        await note_not_alone(runtime.redis, task_id)
        reason = f"a suspect, and not alone in this process ({error})"
        settled = await attempt.settle(HandedBack(runtime.spread(*HAND_BACK_SECONDS), reason))
    else:
        await forget_not_alone(runtime.redis, task_id)
    reach("settled")
    await attempt.answer(settled)


async def _row_of(runtime: Runtime, function: TaskFunction[Any, Any], delivery: Delivery) -> UUID:
    """The row that the job is marked with, or that of a stock client's job."""
    if delivery.row_id is not None:
        return delivery.row_id
    try:
        return await foreign.adopt(runtime, function, delivery)
    except ParametersDiffer as error:
        await wait_rowless(runtime, delivery, error)
    except InvalidArguments as error:  # a stock client's call that fits no parameters
        raise await foreign.refuse(runtime, delivery, error) from error


def _held(runtime: Runtime, delivery: Delivery, row_id: UUID) -> Held:
    payload = codec.durable_payload(delivery.name, str(row_id), delivery.enqueued_ms)
    queue = runtime.leases.queue_of(delivery.job_id)
    return Held(delivery.job_id, queue, delivery.score, payload, row_id)
