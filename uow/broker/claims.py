"""How the fast worker claims jobs, keeps them and finishes them: three scripts, typed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from uow.broker.scripts import PUSH_BATCH, Call, reasons_of

BATCH = PUSH_BATCH
"""Jobs per call at most: a millisecond or two of Redis, and far below Lua's limit of values."""

NO_RESULT = -1
"""In place of the milliseconds that a result is kept."""

Action = Literal["done", "settled", "cron", "again", "unrun"]

RETURNS = frozenset({"again", "unrun"})
"""The job goes back into its queue."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this process may run.

    Attributes:
        job_id: As bytes: a queue may hold entries that are no text.
        score: Its place in the queue before; Unix milliseconds, less its priority.
        payload: None: there is none, or it is not a string.
        starts: arq's count of starts, this one included; 0 for a job with a row.
        token: What was written into its lease.
    """

    queue: str
    job_id: bytes
    score: int
    payload: bytes | None
    starts: int
    token: str


def back_to(score: int) -> int:
    """The number of a `Finish` that puts a job back to where it stood in its queue."""
    return -max(score, 0)


class Finish(NamedTuple):
    """What is to become of a claimed job; see ``finish.lua``."""

    queue: str
    job_id: str | bytes
    token: str
    action: Action
    number: int = NO_RESULT
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Round:
    """What a claim has found.

    Attributes:
        wait: Seconds until the next job is due, by Redis's clock; None: there is none.
        more: Not everything that is due was looked at.
        refused: The queues that are none, each with what Redis says.
    """

    jobs: list[Claimed]
    wait: float | None
    more: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)


async def claim(call: Call, queues: Sequence[str], free: int, lease_ms: int, token: str) -> Round:
    """Claim `free` due jobs at most, of the first queue first.

    However many due jobs are held by others: the scan goes on behind them, call by call, until it
    has found some or has come to the end.
    """
    ranks: list[int] = []
    while True:
        answer = await call("claim", queues, [min(free, BATCH), lease_ms, token, *ranks])
        now, next_due, ranks, refused, *found = answer
        jobs = [
            Claimed(queues[number - 1], id_, _whole(score), payload, starts, token)
            for number, id_, score, payload, starts in zip(*[iter(found)] * 5, strict=True)
        ]
        more = max(ranks) >= 0
        if jobs or not more:
            wait = max(next_due - now, 0) / 1000 if next_due else None
            return Round(jobs, wait, more, reasons_of(refused))


def _whole(score: bytes) -> int:
    """A score as a number of milliseconds; a hostile entry may stand at minus infinity."""
    return int(max(float(score), -(2.0**53)))


async def finish(call: Call, finishes: Iterable[Finish]) -> tuple[list[bytes], dict[str, str]]:
    """Finish jobs, `BATCH` at most.

    Returns:
        The ids of those that are another's by now; and what Redis refuses of some, by their ids.
    """
    numbers: dict[str, int] = {}
    arguments: list[str | int | bytes] = []
    for one in finishes:
        number = numbers.setdefault(one.queue, len(numbers) + 1)
        arguments += (number, one.job_id, one.token, one.action, one.number, one.data)
    lost, refused = await call("finish", list(numbers), arguments)
    return lost, reasons_of(refused)


async def extend(
    call: Call, jobs: Iterable[tuple[str, str, str]], lease_ms: int
) -> tuple[list[str], list[str]]:
    """Extend leases, `BATCH` at most.

    Args:
        jobs: Queue, id and token of each.

    Returns:
        The ids of jobs that are another's, and of jobs that Redis has forgotten.
    """
    numbers: dict[str, int] = {}
    arguments: list[str | int | bytes] = [lease_ms]
    for queue, job_id, token in jobs:
        arguments += (numbers.setdefault(queue, len(numbers) + 1), job_id, token)
    foreign, missing = await call("extend", list(numbers), arguments)
    return [id_.decode() for id_ in foreign], [id_.decode() for id_ in missing]


async def retake(
    call: Call, queue: str, job_id: str, token: str, payload: bytes, lease_ms: int
) -> bool:
    """Put back what Redis has lost of a running job; False if its lease is another's by now."""
    return bool(await call("retake", [queue], [job_id, token, lease_ms, payload]))
