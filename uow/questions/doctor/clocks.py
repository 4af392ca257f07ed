"""Three clocks decide when a task is due: this host's, Postgres's and Redis's."""

from collections.abc import Awaitable, Callable

from uow.broker.redis import server_time
from uow.clock import utcnow
from uow.db.fragments import LEAD_SECONDS
from uow.db.server_facts import server_epoch
from uow.questions.doctor.finding import Finding, broken, warning
from uow.questions.doctor.visit import Needs, Visit, check

SKEW_SECONDS = 1.0
"""More than a clock that is kept right is off."""

ASKED = 3
"""The answer that came fastest says most."""

SKEW = warning("clocks.skew", "Tasks start that much too early or too late.")
FAR = broken("clocks.far", "Tasks start at wrong times, and what is due is pushed too late.")


@check(Needs.POSTGRES)
async def postgres(visit: Visit) -> list[Finding]:
    """Whether Postgres and this host agree."""
    return await _compared("Postgres", lambda: server_epoch(visit.db))


@check(Needs.REDIS)
async def redis(visit: Visit) -> list[Finding]:
    """Whether Redis and this host agree."""

    async def now() -> float:
        return (await server_time(visit.redis)).timestamp()

    return await _compared("Redis", now)


async def _compared(server: str, ask: Callable[[], Awaitable[float]]) -> list[Finding]:
    skew, error = min([await _skew(ask) for _ in range(ASKED)], key=lambda one: one[1])
    if abs(skew) - error < SKEW_SECONDS:
        return []
    kind = FAR if abs(skew) >= LEAD_SECONDS else SKEW
    direction = "ahead of" if skew > 0 else "behind"
    said = f"{server} is {abs(skew):,.1f} s (± {error:.3f} s) {direction} this host"
    return [kind.found(said, "let both be kept right by NTP: timedatectl set-ntp true")]


async def _skew(ask: Callable[[], Awaitable[float]]) -> tuple[float, float]:
    """How far a server is ahead, and how wrong that may be."""
    before = utcnow().timestamp()
    there = await ask()
    after = utcnow().timestamp()
    return there - (before + after) / 2, (after - before) / 2
