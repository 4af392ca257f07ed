"""A job's result, in arq's shape, and how long it is kept."""

import logging
from dataclasses import dataclass, replace

from arq.cron import CronJob
from arq.jobs import DeserializationError, deserialize_result, serialize_result
from arq.utils import to_ms
from arq.worker import Function, JobExecutionFailed, Worker

from uow.attempt.running import Held
from uow.broker.claims import NO_RESULT
from uow.fast.arq.payload import Call

logger = logging.getLogger("arq.worker")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job has ended."""

    call: Call
    tries: int
    success: bool
    result: object
    started_ms: int
    finished_ms: int
    ref: str


def written(worker: Worker, held: Held, ended: Ended) -> bytes | None:
    """The bytes of a result; None if it cannot be written at all.

    An exception that is written but could not be read back (pickle does that to those whose
    `__init__` wants more than a message) is replaced by its text. Reading it would raise, and so
    would `ArqRedis.all_job_results`, for everybody.
    """
    data = _serialized(worker, held, ended)
    if data is None or not isinstance(ended.result, BaseException):
        return data
    try:
        deserialize_result(data, deserializer=worker.job_deserializer)
    except DeserializationError:
        text = f"{type(ended.result).__name__}: {ended.result}"
        logger.warning("%s: its exception cannot be read back, only its text is kept", ended.ref)
        return _serialized(worker, held, replace(ended, result=JobExecutionFailed(text)))
    return data


def kept_ms(worker: Worker, function: Function | CronJob | None, data: bytes | None) -> int:
    """How long a result is kept, in the words of ``finish.lua``."""
    for_ever, seconds = worker.keep_result_forever, worker.keep_result_s
    if function is not None and function.keep_result_forever is not None:
        for_ever = function.keep_result_forever
    if function is not None and function.keep_result_s is not None:
        seconds = function.keep_result_s
    if data is None or not (for_ever or seconds > 0):
        return NO_RESULT
    return 0 if for_ever else max(to_ms(seconds), 1)


def _serialized(worker: Worker, held: Held, ended: Ended) -> bytes | None:
    return serialize_result(
        ended.call.name, ended.call.args, ended.call.kwargs, ended.tries, ended.call.enqueued_ms,
        ended.success, ended.result, ended.started_ms, ended.finished_ms, ended.ref,
        held.queue, held.job_id, serializer=worker.job_serializer,
    )  # fmt: skip
