"""One job of any arq worker, run as arq runs it.

The order of things, the hooks, the log lines and the results are those of arq's own `run_job`. Its
defects are not: a hook that raises fails its job and not the worker; a shutdown burns no try; an
abort that was meant for an earlier job of the same id is not obeyed; bytes that crash the process
whenever they are read are given up; an exception that cannot be read back does not spoil the
results of everybody.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from arq.constants import retry_key_prefix
from arq.cron import CronJob
from arq.jobs import SerializationError
from arq.utils import args_to_string, ms_to_datetime, timestamp_ms, truncate
from arq.worker import Function, JobExecutionFailed, Retry, RetryJob, Worker

from uow.attempt.running import Held
from uow.broker.claims import Action, Claimed, Finish
from uow.broker.redis import AWAY
from uow.broker.results import EndedJob
from uow.fast.arq.payload import FunctionCall, read
from uow.fast.arq.results import kept_ms, written
from uow.telemetry import subject

logger = logging.getLogger("arq.worker")

COUNTED_SECONDS = 88_400
"""How long arq counts a job's starts."""

CountedAs = Literal["complete", "failed", "again"]


class Refused(Exception):
    """The job fails without a run.

    Attributes:
        result: What its result is.
    """

    def __init__(self, result: BaseException) -> None:
        super().__init__(str(result))
        self.result = result


@dataclass(slots=True)
class ArqJob:
    """A claimed job.

    Attributes:
        is_stopping: Whether the worker has been told to stop.
        aborted_ms: When somebody asked to abort a job of its id; None: nobody has.
        ctx: What the function and the hooks get; empty if the job was refused.
    """

    worker: Worker
    claimed: Claimed
    held: Held
    is_stopping: Callable[[], bool]
    aborted_ms: int | None = None
    ctx: dict[Any, Any] = field(default_factory=dict)
    call: FunctionCall = field(default_factory=FunctionCall)
    tries: int = 1
    function: Function | CronJob | None = None
    started_ms: int = 0
    outcome: CountedAs = "failed"

    @property
    def ref(self) -> str:
        """What arq calls the job in its log."""
        is_cron = isinstance(self.function, CronJob)
        return self.call.name if is_cron else f"{self.held.job_id}:{self.call.name}"

    async def run(self) -> Finish:
        """Run the job; returns what is to become of it. Raises nothing but errors of our own."""
        self.started_ms = timestamp_ms()
        self.tries = max(self.claimed.starts, 1)
        try:
            function = self._read()
        except Refused as refused:
            self.function = None  # its settings count for what it did, and it did nothing
            finish = self._done(False, refused.result)
        else:
            finish = await self._run(function)
        self._count()
        return finish

    async def _run(self, function: Function | CronJob) -> Finish:
        await self._begin_with_wanted_try()
        self.ctx = {
            **self.worker.ctx,
            "job_id": self.held.job_id,
            "job_try": self.tries,
            "enqueue_time": ms_to_datetime(self.held.enqueued_ms),
            "score": self.held.score,
        }
        try:
            if self.worker.on_job_start:
                await self.worker.on_job_start(self.ctx)
            finish = self._succeeded(await self._perform(function))
        except BaseException as error:  # a panic of Rust code, too
            finish = self._failed(error)
        return await self._end(finish)

    def _read(self) -> Function | CronJob:
        """Read the payload and find the function.

        Raises:
            Refused: The job fails without a run.
        """
        self.call = self._decoded()
        self.held.enqueued_ms = self.call.enqueued_ms
        subject.here(self.held.job_id, self.held.queue).is_call(self.call.name, self.tries)
        if self.aborted_ms is not None and self.aborted_ms >= self.held.enqueued_ms:
            logger.info("%6.2fs ⊘ %s aborted before start", self._waited, self.ref)
            raise Refused(asyncio.CancelledError())
        self.function = function = self.worker.functions.get(self.call.name)
        if function is None:
            logger.warning("job %s, function %r not found", self.held.job_id, self.call.name)
            raise Refused(JobExecutionFailed(f"function {self.call.name!r} not found"))
        self.tries = max(self.tries, self.call.tries)  # of a job that is refused, arq tells starts
        if self.tries > (limit := self._limit(function)):
            logger.warning("%6.2fs ! %s max retries %d exceeded", self._waited, self.ref, limit)
            raise Refused(JobExecutionFailed(f"max {limit} retries exceeded"))
        return function

    def _decoded(self) -> FunctionCall:
        worker, job_id, payload = self.worker, self.held.job_id, self.claimed.payload
        if payload is None:
            logger.warning("job %s expired", job_id)
            raise Refused(JobExecutionFailed("job expired"))
        # One try more than any function has: reading it has not come to its end.
        limit = max(map(self._limit, worker.functions.values()))
        if self.tries > limit + 1:
            logger.error("job %s ends the process whenever it is read: it is given up", job_id)
            raise Refused(JobExecutionFailed(f"max {limit} retries exceeded"))
        try:
            return read(payload, worker.job_deserializer)
        except SerializationError as error:
            logger.exception("deserializing job %s failed", job_id)
            raise Refused(error) from error

    def _limit(self, function: Function | CronJob) -> int:
        return self.worker.max_tries if function.max_tries is None else function.max_tries

    async def _begin_with_wanted_try(self) -> None:
        """Let arq's count of starts go on from the try that the client has named."""
        if self.tries > self.claimed.starts > 0:
            with contextlib.suppress(*AWAY):
                key = retry_key_prefix + self.held.job_id
                await self.worker.pool.set(key, self.tries, ex=COUNTED_SECONDS)

    async def _perform(self, function: Function | CronJob) -> object:
        self.started_ms = timestamp_ms()
        self._log_start()
        timeout = self.worker.job_timeout_s if function.timeout_s is None else function.timeout_s
        task: asyncio.Task[Any] = asyncio.ensure_future(
            function.coroutine(self.ctx, *self.call.args, **self.call.kwargs)
        )
        self.worker.job_tasks[self.held.job_id] = task
        try:
            return await asyncio.wait_for(task, timeout)
        finally:
            del self.worker.job_tasks[self.held.job_id]

    def _succeeded(self, result: object) -> Finish:
        shown = result is not None and self.worker.log_results
        text = truncate(repr(result)) if shown else ""
        logger.info("%6.2fs ← %s ● %s", self._took, self.ref, text)
        return self._done(True, result)

    def _failed(self, error: BaseException) -> Finish:
        worker, job_id = self.worker, self.held.job_id
        cancelled = isinstance(error, asyncio.CancelledError)
        if worker.retry_jobs and isinstance(error, Retry):
            delay = error.defer_score or 0
            logger.info("%6.2fs ↻ %s retrying job in %0.2fs", self._took, self.ref, delay / 1000)
            return self._again("again", delay)
        if cancelled and job_id in worker.aborting_tasks:
            logger.info("%6.2fs ⊘ %s aborted", self._took, self.ref)
            worker.aborting_tasks.remove(job_id)
        elif worker.retry_jobs and (cancelled or isinstance(error, RetryJob)):
            logger.info("%6.2fs ↻ %s cancelled, will be run again", self._took, self.ref)
            return self._again("unrun" if cancelled and self.is_stopping() else "again", 0)
        else:
            self._log_failure(error)
        return self._done(False, error)

    async def _end(self, finish: Finish) -> Finish:
        if self.worker.on_job_end is None:
            return finish
        try:
            await self.worker.on_job_end(self.ctx)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            logger.exception("%s: on_job_end failed", self.ref)
            return finish if self.outcome == "again" else self._done(False, error)
        return finish

    async def tell_end(self, hook: Callable[[dict[Any, Any]], Awaitable[None]]) -> None:
        """Call the hook that comes when all is done: what it raises changes nothing any more."""
        try:
            await hook(self.ctx)
        except asyncio.CancelledError:
            raise
        except BaseException:
            logger.exception("%s: after_job_end failed", self.ref)

    def _done(self, success: bool, result: object) -> Finish:
        held, worker, call = self.held, self.worker, self.call
        self.outcome = "complete" if success else "failed"
        ended = EndedJob(
            call.name, call.args, call.kwargs, self.tries, call.enqueued_ms, success, result,
            self.started_ms, timestamp_ms(), self.ref, held.queue, held.job_id,
        )  # fmt: skip
        data = written(worker, ended)
        number = kept_ms(worker, self.function, data)
        action: Action = "cron" if isinstance(self.function, CronJob) else "done"
        return held.finish(action, number, data or b"")

    def _again(self, action: Action, delay_ms: int) -> Finish:
        """Deliver it again: later, or from where it stood in the queue."""
        held = self.held
        self.outcome = "again"
        return held.finish(action, delay_ms or held.place, held.payload)

    def _count(self) -> None:
        match self.outcome:
            case "complete":
                self.worker.jobs_complete += 1
            case "failed":
                self.worker.jobs_failed += 1
            case "again":
                self.worker.jobs_retried += 1

    @property
    def _waited(self) -> float:
        return (timestamp_ms() - self.held.enqueued_ms) / 1000

    @property
    def _took(self) -> float:
        return (timestamp_ms() - self.started_ms) / 1000

    def _log_start(self) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        extra = f" try={self.tries}" if self.tries > 1 else ""
        if (late := self.started_ms - self.held.score) > 1200:
            extra += f" delayed={late / 1000:0.2f}s"
        arguments = args_to_string(self.call.args, self.call.kwargs)
        logger.info("%6.2fs → %s(%s)%s", self._waited, self.ref, arguments, extra)

    def _log_failure(self, error: BaseException) -> None:
        extra = getattr(error, "extra", None)
        if callable(extra):
            with contextlib.suppress(Exception):
                extra = extra()
        logger.error(
            "%6.2fs ! %s failed, %s: %s", self._took, self.ref, type(error).__name__, error,
            exc_info=error, extra={"extra": extra},
        )  # fmt: skip
