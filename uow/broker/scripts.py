"""The Lua scripts, with signatures."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from uow.broker import keys
from uow.broker.refusals import EntriesRefused
from uow.settings.queues import fault_in_name

Call = Callable[[str, Sequence[str], Sequence[str | int | bytes]], Awaitable[Any]]
"""Runs the script of that name with keys and arguments."""

PUSH_BATCH = 500
"""Jobs per call: about a millisecond of Redis, so that nobody else waits noticeably."""

FIELDS = 4
"""Arguments of a job in such a call."""

PUSHES_AT_ONCE = 8
"""Calls on their way: Redis works on one while we write the next."""

PAGE = 1000
"""Entries per call of the scripts that only look: a few milliseconds of Redis."""

PRIORITY_STEP_MS = 100_000_000_000
"""How far one step of priority moves a job's score into the past (a bit over three years).

Stock arq runs due jobs in the order of their scores, so this is a priority that it honours. Nine
steps keep today's scores above zero, which arq would never run; older ones stand together at 1.
"""


class Job(NamedTuple):
    """What is pushed: a task's delivery.

    Attributes:
        is_due: It is due already, by the clock that `due_ms` was read from: Redis's may be slow.
    """

    job_id: str
    queue: str
    due_ms: int
    priority: int
    payload: bytes
    is_due: bool = False

    @property
    def score(self) -> int:
        """Its place in the queue."""
        return score(self.due_ms, self.priority)


def score(due_ms: int, priority: int) -> int:
    """A job's place in the queue: when it is due, priorities first; above 0, as arq wants it."""
    return max(due_ms - priority * PRIORITY_STEP_MS, 1)


def due_of(score: int, enqueued_ms: int) -> int:
    """When a job of that score is due, in Unix milliseconds; of any priority, within three years
    of when it was enqueued."""
    if score >= enqueued_ms:  # as of most, which have no priority
        return score
    return score - (score - enqueued_ms) // PRIORITY_STEP_MS * PRIORITY_STEP_MS


async def push(call: Call, jobs: Iterable[Job]) -> int:
    """Push `jobs` unless they are there; returns how many were not.

    Raises:
        EntriesRefused: Redis takes some of them never; the others are there.
        RedisError, OSError: Redis is away; some of the jobs may be there.
    """
    pushed = 0
    refused: dict[str, str] = {}
    under_way: deque[asyncio.Future[tuple[int, list[bytes]]]] = deque()
    try:
        for queue, arguments in batches(jobs, refused):
            under_way.append(asyncio.ensure_future(call("push", [queue], arguments)))
            await asyncio.sleep(0)  # it is sent while the next one is made
            if len(under_way) == PUSHES_AT_ONCE:
                pushed += taken(await under_way.popleft(), refused)
        while under_way:
            pushed += taken(await under_way.popleft(), refused)
    finally:
        for one in under_way:
            one.cancel()
    if refused:
        raise EntriesRefused(refused, pushed)
    return pushed


def taken(answer: tuple[int, list[bytes]], refused: dict[str, str]) -> int:
    """How many a call of ``push`` has pushed; notes in `refused` what was."""
    pushed, reasons = answer
    refused |= reasons_of(reasons)
    return pushed


def reasons_of(said: Sequence[bytes]) -> dict[str, str]:
    """A script's list of entries, each with the reason for which it is refused, by entry."""
    if not said:
        return {}
    words = [word.decode(errors="replace") for word in said]
    return dict(zip(words[::2], words[1::2], strict=True))


def batches(
    jobs: Iterable[Job], refused: dict[str, str]
) -> Iterator[tuple[str, list[str | int | bytes]]]:
    """Queue and arguments of each call of ``push``; notes in `refused` what none can be of."""
    for queue, arguments in _by_queue(jobs):
        if (fault := fault_in_name(queue)) is None:
            yield queue, arguments
        else:  # it would be made, and in the way
            refused |= dict.fromkeys(map(str, arguments[::FIELDS]), fault)


def _by_queue(jobs: Iterable[Job]) -> Iterator[tuple[str, list[str | int | bytes]]]:
    by_queue: dict[str, list[str | int | bytes]] = {}
    for job in jobs:
        arguments = by_queue.setdefault(job.queue, [])
        arguments += (job.job_id, job.score, int(job.is_due), job.payload)
        if len(arguments) == FIELDS * PUSH_BATCH:
            yield job.queue, by_queue.pop(job.queue)
    yield from by_queue.items()


async def move(
    call: Call, queue: str, jobs: Sequence[Job], *, leave: bool = False
) -> tuple[set[str], dict[str, str]]:
    """Move jobs of one queue to their scores, or out of it, unless somebody holds them.

    Args:
        leave: They leave the queue; what is to be pushed later.

    Returns:
        The ids of those that are held; and of those that the queue does not take, the reasons.
    """
    if (fault := fault_in_name(queue)) is not None:
        return set(), {job.job_id: fault for job in jobs}
    held: set[str] = set()
    refused: dict[str, str] = {}
    for at in range(0, len(jobs), PUSH_BATCH):
        arguments: list[str | int | bytes] = []
        for job in jobs[at : at + PUSH_BATCH]:
            score = "" if leave else job.score
            arguments += (job.job_id, score, int(job.is_due), job.payload)
        ids, reasons = await call("move", [queue], arguments)
        held |= {id_.decode() for id_ in ids}
        refused |= reasons_of(reasons)
    return held, refused


async def hold(
    redis: Redis,
    *,
    queue: str,
    job_id: str,
    score: int,
    payload: bytes,
    lease_seconds: float,
) -> None:
    """Extend a running job's lease and put back what Redis may have lost of it."""
    await _script("hold")(
        keys=[queue, keys.in_progress(job_id), keys.job(job_id)],
        args=[job_id, score, payload, int(lease_seconds * 1000)],
        client=redis,
    )


async def renew(redis: Redis, queue: str, job_id: str, lease_seconds: float) -> bool:
    """Extend a running job's lease; False if something of the job is gone."""
    renewed = await _script("renew")(
        keys=[queue, keys.in_progress(job_id), keys.job(job_id)],
        args=[job_id, int(lease_seconds * 1000)],
        client=redis,
    )
    return bool(renewed)


async def missing(redis: Redis, queue: str, job_ids: Iterable[str]) -> list[str]:
    """Which of `job_ids` have no payload or no entry in `queue`; all of them, if it is no queue."""
    if fault_in_name(queue) is not None:
        return list(job_ids)
    found = await _script("missing")(keys=[queue], args=list(job_ids), client=redis)
    return [job_id.decode() for job_id in found]


async def release(redis: Redis, jobs: Iterable[tuple[str, str, int]]) -> None:
    """End the leases of jobs whose worker is dead.

    Args:
        jobs: Queue, id and score of each; all of them are due.
    """
    arguments = [value for job in jobs for value in job]
    await _script("release")(keys=[], args=arguments, client=redis)


async def tend(redis: Redis, queue: str, first: int, lease_seconds: float) -> int:
    """Keep the page of `queue` from rank `first` on from stock arq's time limits.

    Returns:
        How many entries the page had; fewer than `PAGE`: it was the last.
    """
    arguments = [first, first + PAGE - 1, int(lease_seconds * 1000)]
    return int(await _script("tend")(keys=[queue], args=arguments, client=redis))


def caller(redis: Redis) -> Call:
    """Runs the script of a name on `redis`."""

    async def call(name: str, on: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        return await _script(name)(keys=on, args=arguments, client=redis)

    return call


_SOURCES = {
    file.name.removesuffix(".lua"): file.read_text()
    for file in files("uow.broker").joinpath("scripts").iterdir()
    if file.name.endswith(".lua")
}
"""Read when the process starts: later it may have no descriptor left to open a file."""


def source(name: str) -> str:
    """The text of `scripts/<name>.lua`, with what each may use in front of it."""
    return f"{_SOURCES['try']}\n{_SOURCES[name]}"


@cache
def _script(name: str) -> AsyncScript:
    return AsyncScript(Redis(), source(name))  # each call names its own client
