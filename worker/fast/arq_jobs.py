"""One job of any arq worker, run as arq runs it.

The order of things, the hooks, the log lines and the results are those of arq's own `run_job`. Its
defects are not: a hook that raises fails its job and not the worker; a shutdown burns no try; an
abort that was meant for an earlier job of the same id is not obeyed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from arq.cron import CronJob
from arq.jobs import SerializationError, deserialize_job_raw, serialize_result
from arq.utils import args_to_string, ms_to_datetime, timestamp_ms, to_ms, truncate
from arq.worker import Function, JobExecutionFailed, Retry, RetryJob, Worker

from worker.broker.claims import NO_RESULT, Action, Claimed, Finish
from worker.execution.running import Held

logger = logging.getLogger("arq.worker")


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
        ctx: What the function and the hooks get.
    """

    worker: Worker
    claimed: Claimed
    held: Held
    is_stopping: Callable[[], bool]
    aborted_ms: int | None = None
    ctx: dict[Any, Any] = field(default_factory=dict)
    name: str = "<unknown>"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    tries: int = 1
    function: Function | CronJob | None = None
    started_ms: int = 0

    @property
    def ref(self) -> str:
        """What arq calls the job in its log."""
        is_cron = isinstance(self.function, CronJob)
        return self.name if is_cron else f"{self.held.job_id}:{self.name}"

    async def run(self) -> Finish:
        """Run the job; returns what is to become of it. Raises nothing but errors of our own."""
        self.started_ms = timestamp_ms()
        try:
            function = self._read()
        except Refused as refused:
            self.worker.jobs_failed += 1
            return self._done(False, refused.result)
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
        except (Exception, asyncio.CancelledError) as error:
            finish = self._failed(error)
        return await self._end(finish)

    def _read(self) -> Function | CronJob:
        """Read the payload and find the function.

        Raises:
            Refused: The job fails without a run.
        """
        worker, payload = self.worker, self.claimed.payload
        if payload is None:
            logger.warning("job %s expired", self.held.job_id)
            raise Refused(JobExecutionFailed("job expired"))
        try:
            self.name, self.args, self.kwargs, tries, self.held.enqueued_ms = deserialize_job_raw(
                payload, deserializer=worker.job_deserializer
            )
        except SerializationError as error:
            logger.exception("deserializing job %s failed", self.held.job_id)
            raise Refused(error) from error
        self.tries = max(self.claimed.starts, tries or 0, 1)
        if self.aborted_ms is not None and self.aborted_ms >= self.held.enqueued_ms:
            logger.info("%6.2fs ⊘ %s aborted before start", self._waited, self.ref)
            raise Refused(asyncio.CancelledError())
        self.function = function = worker.functions.get(self.name)
        if function is None:
            logger.warning("job %s, function %r not found", self.held.job_id, self.name)
            raise Refused(JobExecutionFailed(f"function {self.name!r} not found"))
        limit = worker.max_tries if function.max_tries is None else function.max_tries
        if self.tries > limit:
            logger.warning("%6.2fs ! %s max retries %d exceeded", self._waited, self.ref, limit)
            raise Refused(JobExecutionFailed(f"max {limit} retries exceeded"))
        return function

    async def _perform(self, function: Function | CronJob) -> object:
        self.started_ms = timestamp_ms()
        self._log_start()
        timeout = self.worker.job_timeout_s if function.timeout_s is None else function.timeout_s
        task: asyncio.Task[Any] = asyncio.ensure_future(
            function.coroutine(self.ctx, *self.args, **self.kwargs)
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
        self.worker.jobs_complete += 1
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
        worker.jobs_failed += 1
        return self._done(False, error)

    async def _end(self, finish: Finish) -> Finish:
        if self.worker.on_job_end is None:
            return finish
        try:
            await self.worker.on_job_end(self.ctx)
        except Exception as error:
            logger.exception("%s: on_job_end failed", self.ref)
            return finish if finish.action in ("again", "unrun") else self._done(False, error)
        return finish

    def _done(self, success: bool, result: object) -> Finish:
        held, worker, function = self.held, self.worker, self.function
        written = serialize_result(
            self.name, self.args, self.kwargs, self.tries, held.enqueued_ms, success, result,
            self.started_ms, timestamp_ms(), self.ref, held.queue, held.job_id,
            serializer=worker.job_serializer,
        )  # fmt: skip
        for_ever, seconds = worker.keep_result_forever, worker.keep_result_s
        if function is not None and function.keep_result_forever is not None:
            for_ever = function.keep_result_forever
        if function is not None and function.keep_result_s is not None:
            seconds = function.keep_result_s
        kept = NO_RESULT
        if written is not None and (for_ever or seconds > 0):
            kept = 0 if for_ever else to_ms(seconds)
        action: Action = "cron" if isinstance(function, CronJob) else "done"
        return Finish(held.queue, held.job_id, held.token, action, kept, written or b"")

    def _again(self, action: Action, delay_ms: int) -> Finish:
        held = self.held
        self.worker.jobs_retried += 1
        return Finish(held.queue, held.job_id, held.token, action, delay_ms, held.payload)

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
        arguments = args_to_string(self.args, self.kwargs)
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
