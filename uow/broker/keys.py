"""Every key and channel in Redis, known here and nowhere else. The keys are arq's own."""

from arq.constants import (
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)

CANCEL_CHANNEL = "worker:cancel"
"""Ids of cancelled tasks, for the process that runs one."""


def pulse(name: str) -> str:
    """What the leader has written last, by its name; if it is not there, Redis has lost data."""
    return f"worker:pulse:{name}"


def owner(queue: str) -> str:
    """Which database's tasks go to a queue: see `uow.tasks.queue_owner`."""
    return f"worker:owner:{queue}"


def owner_lives(queue: str) -> str:
    """That a worker of the queue's owner serves it; runs out soon after the last one."""
    return f"worker:owner-lives:{queue}"


def job(job_id: str) -> str:
    """Payload of a job."""
    return job_key_prefix + job_id


def in_progress(job_id: str) -> str:
    """The lease: while this key exists nobody else may start the job."""
    return in_progress_key_prefix + job_id


def retries(job_id: str) -> str:
    """arq's count of starts."""
    return retry_key_prefix + job_id


def setbacks(job_id: str) -> str:
    """How often in a row a rowless task has lately been set back."""
    return f"worker:setbacks:{job_id}"


def not_alone(task_id: str) -> str:
    """How often a suspect has lately waited in vain to be alone."""
    return f"worker:not-alone:{task_id}"


def result(job_id: str) -> str:
    """arq's result of a job."""
    return result_key_prefix + job_id


def unknown(job_id: str) -> str:
    """When a job that names no row was first met by a worker that does not know its name."""
    return f"worker:unknown:{job_id}"


def ticked(tick: str) -> str:
    """That a tick of an arq cron job was pushed, or run: by ``tick.lua``, by ``finish.lua``."""
    return f"worker:ticked:{tick}"


def started(queue: str, cron_job: str) -> str:
    """Which of the processes that start together has pushed a cron job of the start."""
    return f"worker:started:{queue}:{cron_job}"


def settled_channel(job_id: str) -> str:
    """Where it is said that the task with this id is settled; a hint, never the truth."""
    return f"worker:settled:{job_id}"


OUR_CHANNELS = "worker:*"
"""The pattern of all our channels: as an account's rights name it, for no other one is allowed."""

_SETTLED = settled_channel("")


def settled_in(channel: str) -> str | None:
    """The id of the task whose end is told on this channel; None: something else is told there."""
    return channel.removeprefix(_SETTLED) if channel.startswith(_SETTLED) else None
