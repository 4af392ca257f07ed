"""A job's result, in arq's shape, and how long it is kept."""

import logging

from arq.cron import CronJob
from arq.jobs import DeserializationError, deserialize_result
from arq.utils import to_ms
from arq.worker import Function, JobExecutionFailed, Worker

from uow.broker.claims import NO_RESULT
from uow.broker.results import EndedJob

logger = logging.getLogger("arq.worker")


def written(worker: Worker, ended: EndedJob) -> bytes | None:
    """The bytes of a result; None if it cannot be written at all.

    An exception that is written but could not be read back (pickle does that to those whose
    `__init__` wants more than a message) is replaced by its text. Reading it would raise, and so
    would `ArqRedis.all_job_results`, for everybody.
    """
    data = ended.written(worker.job_serializer)
    if data is None or not isinstance(ended.result, BaseException):
        return data
    try:
        deserialize_result(data, deserializer=worker.job_deserializer)
    except DeserializationError:
        text = f"{type(ended.result).__name__}: {ended.result}"
        logger.warning("%s: its exception cannot be read back, only its text is kept", ended.ref)
        return ended._replace(result=JobExecutionFailed(text)).written(worker.job_serializer)
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
