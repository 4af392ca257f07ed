"""The worker processes, as far as they say what they are."""

from collections.abc import Callable
from typing import TypeVar

from uow.db.fleet_facts import LiveProcess, led_until
from uow.questions.doctor.finding import Finding, broken, unknown, warning
from uow.questions.doctor.visit import Needs, Visit, check

T = TypeVar("T")

LEADERLESS_SECONDS = 10.0
"""Longer than another process takes to follow a leader that was killed."""

LAG_SECONDS = 1.0
"""A loop that is held up for so long renews no lease in time by itself."""

NAMED = 5

NOBODY = warning("fleet.nobody", "Nothing runs until one is started.")
LEADERLESS = broken(
    "fleet.leaderless", "Nothing is rescued, scheduled or pruned while nobody leads."
)
MIXED = warning("fleet.mixed-versions", "It is a deploy, or a process that was left out of one.")
LEASES = broken(
    "fleet.leases-differ", "Who has the longer lease is taken for dead by who has the shorter."
)
LAG = warning("fleet.loop-lag", "A task function blocks the loop, and all others wait.")
UNTOLD = unknown("fleet.untold", "What processes do not say of themselves cannot be compared.")


@check(Needs.TABLES)
async def leader(visit: Visit) -> list[Finding]:
    """Whether there are workers, and one of them leads."""
    living = [one for one in await visit.processes() if not one.leaving]
    if not living:
        mend = "worker run"
        return [NOBODY.found("no process has a heartbeat in this database", mend)]
    lead = await led_until(visit.db)
    if lead is not None and lead.over_for < LEADERLESS_SECONDS:
        return []
    since = "nobody ever has" if lead is None else f"not for {lead.over_for:,.0f} s"
    said = f"{len(living)} processes live, and none leads ({since})"
    return [LEADERLESS.found(said, "look at their logs: why can none take the lead?")]


@check(Needs.TABLES)
async def versions(visit: Visit) -> list[Finding]:
    """Whether all run one version of the library."""
    living = await visit.processes()
    told = _by(living, lambda one: one.version)
    found = _untold(living, told, "their version")
    if len(told) > 1:
        mend = "restart those of the older version"
        found.append(MIXED.found(_compared(told), mend))
    return found


@check(Needs.TABLES)
async def leases(visit: Visit) -> list[Finding]:
    """Whether all have the same WORKER_LEASE_SECONDS."""
    living = await visit.processes()
    told = _by(living, lambda one: one.lease_seconds)
    found = _untold(living, told, "their lease")
    if len(told) > 1:
        said = _compared({f"{seconds:g} s": who for seconds, who in told.items()})
        found.append(LEASES.found(said, "set one WORKER_LEASE_SECONDS for all of them"))
    return found


@check(Needs.TABLES)
async def loop_lag(visit: Visit) -> list[Finding]:
    """Whether a process's event loop is held up."""
    living = await visit.processes()
    told = _by(living, lambda one: one.loop_lag)
    found = _untold(living, told, "their loop's lag")
    late = [(lag, one) for lag, who in told.items() if lag >= LAG_SECONDS for one in who]
    if late:
        said = ", ".join(f"{one} {lag:.1f} s" for lag, one in sorted(late, reverse=True)[:NAMED])
        mend = "see the log for what blocks it; make that a plain `def` or process=True"
        found.append(LAG.found(said, mend))
    return found


def _by(living: list[LiveProcess], what: Callable[[LiveProcess], T | None]) -> dict[T, list[str]]:
    """Who says what; who says nothing is left out."""
    told: dict[T, list[str]] = {}
    for one in living:
        if (said := what(one)) is not None:
            told.setdefault(said, []).append(one.id)
    return told


def _untold(living: list[LiveProcess], told: dict[T, list[str]], what: str) -> list[Finding]:
    silent = len(living) - sum(map(len, told.values()))
    if not silent:
        return []
    said = f"{silent} of {len(living)} processes do not say {what}"
    return [UNTOLD.found(said, "run a version that says it everywhere")]


def _compared(told: dict[str, list[str]]) -> str:
    return "; ".join(
        f"{value}: {len(who)} ({', '.join(who[:NAMED])})" for value, who in sorted(told.items())
    )
