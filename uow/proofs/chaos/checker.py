"""The verdict: what was promised against what the database and Redis hold afterwards."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from uow.proofs.chaos.system import System
from uow.proofs.chaos.tasks import expected_parts

Effect = tuple[int, int]
"""Number and part."""

_APPLIED = text("SELECT number, part, count(*) AS times FROM chaos_effect GROUP BY number, part")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong; nothing, if everything is empty.

    Attributes:
        lost: Effects that are not there and never will be.
        doubled: Effects that are there more than once.
        unasked: Effects that nobody asked for.
        stuck: How many tasks are not finished.
        failures: Tasks that ended otherwise than well.
        leftovers: What lies in Redis and should not.
        descriptions: What is known about those that are stuck.
        acknowledged: How many tasks were promised.
        unknown: How many may have been.
    """

    lost: Sequence[Effect]
    doubled: Sequence[Effect]
    unasked: Sequence[Effect]
    stuck: int = 0
    failures: Sequence[str] = ()
    leftovers: Mapping[str, int] = field(default_factory=dict)
    descriptions: Sequence[str] = ()
    acknowledged: int = 0
    unknown: int = 0

    @property
    def faults(self) -> list[str]:
        """One line for each thing that is wrong."""
        return [
            *(f"lost: part {part} of {number}" for number, part in self.lost),
            *(f"doubled: part {part} of {number}" for number, part in self.doubled),
            *(f"unasked: part {part} of {number}" for number, part in self.unasked),
            *(f"failed: {failure}" for failure in self.failures),
            *(f"stuck: {description}" for description in self.descriptions),
            *(f"left in Redis: {many} of {what}" for what, many in self.leftovers.items()),
            *self._proves_nothing(),
        ]

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not self.faults and not self.stuck

    def _proves_nothing(self) -> list[str]:
        # Were every enqueue to fail, nothing would be lost either.
        if self.acknowledged > self.unknown:
            return []
        return [f"only {self.acknowledged} tasks were acknowledged and {self.unknown} unknown"]


async def check(system: System, acknowledged: Collection[int], unknown: Collection[int]) -> Verdict:
    """Look at what is there. Nothing may be running any more."""
    rows = await system.db.execute_once(_APPLIED, {})
    applied = {(row.number, row.part): row.times for row in rows}
    effects = judge(acknowledged, unknown, applied, await system.unfinished_numbers())
    stuck = await system.unfinished()
    return Verdict(
        lost=effects.lost,
        doubled=effects.doubled,
        unasked=effects.unasked,
        stuck=stuck,
        failures=await system.failures(),
        leftovers=await system.leftovers(),
        descriptions=await system.describe() if stuck else (),
        acknowledged=len(acknowledged),
        unknown=len(unknown),
    )


def judge(
    acknowledged: Collection[int],
    unknown: Collection[int],
    applied: Mapping[Effect, int],
    unfinished: Collection[int] = (),
) -> Verdict:
    """The verdict about effects alone.

    Args:
        acknowledged: Numbers that must be applied.
        unknown: Numbers that may be; but if one of their parts is, all must be.
        applied: How often each effect is there.
        unfinished: Numbers whose missing parts are not lost yet.
    """
    known = {*acknowledged, *unknown}
    begun = {number for number, _ in applied}
    due = {*acknowledged, *(begun & {*unknown})} - {*unfinished}
    expected = {(number, part) for number in known for part in expected_parts(number)}
    return Verdict(
        lost=sorted((n, p) for n, p in expected if n in due and (n, p) not in applied),
        doubled=sorted(effect for effect, times in applied.items() if times > 1),
        unasked=sorted(effect for effect in applied if effect not in expected),
    )
