"""How a tick of an arq cron job is pushed: once, whoever else sees it. One script, typed."""

from collections.abc import Sequence
from dataclasses import dataclass

from uow.broker import keys
from uow.broker.scripts import Call

TICKED_MS = 3_600_000
"""For how long it is remembered that a tick was pushed or, in ``finish.lua``, run."""


@dataclass(frozen=True, slots=True)
class ArqTick:
    """A job that several workers may want to push.

    Attributes:
        score: When it is due; Unix milliseconds.
        lives_ms: The payload's time to live.
        guard: A key. Whoever takes it decides about this tick.
        guarded_ms: How long the guard is kept after the last one who wanted to push.
        who: What is written into the guard.
        unless: Keys beside arq's own that say that the job is there.
    """

    queue: str
    job_id: str
    score: int
    payload: bytes
    lives_ms: int
    guard: str
    guarded_ms: int
    who: str
    unless: Sequence[str] = ()


async def push_tick(call: Call, tick: ArqTick) -> bool:
    """Push a tick unless somebody has; returns whether this call has decided about it."""
    there = [keys.job(tick.job_id), keys.result(tick.job_id), *tick.unless]
    arguments: list[str | int | bytes] = [
        tick.job_id, tick.score, tick.payload, tick.lives_ms, tick.who, tick.guarded_ms,
    ]  # fmt: skip
    return bool(await call("tick", [tick.queue, tick.guard, *there], arguments))
