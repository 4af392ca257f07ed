"""What ``worker demo --chaos`` does to its own workers and servers while they work."""

import contextlib
from collections.abc import AsyncIterator

from uow.proofs.chaos.faults import Faults
from uow.proofs.chaos.journal import Journal
from uow.proofs.chaos.plan import Done, FaultPlan
from worker.demo.house import House
from worker.demo.workers import FleetOfWorkers, open_fleet

QUIET_SECONDS = 2.0
"""Time for what a frozen worker was doing to show as a repetition after it went on."""


def plan_for(seed: int) -> FaultPlan:
    """As many faults as a person can follow, in as short a time as they can bear."""
    return FaultPlan(
        seed=seed, seconds=20.0, workers=3, kills=8, redis_losses=3, postgres_restarts=2,
        stops=2, stop_seconds=6.0,
    )  # fmt: skip


class Chaos:
    """The faults, and what a person sees of them: printed by rich, it is always up to date."""

    def __init__(
        self, plan: FaultPlan, house: House, workers: FleetOfWorkers, journal: Journal
    ) -> None:
        self.plan = plan
        self.workers = workers
        self._journal = journal
        self._faults = Faults(workers.fleet, house.postgres, house.redis, self._note)
        self._last = "nothing yet"

    @property
    def done(self) -> Done:
        """What was done so far."""
        return self._faults.done

    async def run(self) -> None:
        """Do what is planned; returns when the last fault is over and every server is back."""
        await self._faults.run(self.plan.faults())
        self._last = "no more faults; what they have interrupted is run again"

    def _note(self, event: str) -> None:
        self._last = event
        self._journal.note(event)

    def __rich__(self) -> str:
        return f"done to it: {told(self.done)}\nnow:        {self._last}"


def told(many: FaultPlan | Done) -> str:
    """How many faults of each kind."""
    counted = {
        "kill": many.kills, "freeze": many.stops, "Redis wipe": many.redis_losses,
        "Postgres restart": many.postgres_restarts,
    }  # fmt: skip
    return ", ".join(
        f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counted.items()
    )


@contextlib.asynccontextmanager
async def open_chaos(house: House, plan: FaultPlan) -> AsyncIterator[Chaos]:
    """Start the fleet; nothing is done to it yet."""
    journal = Journal(house.logs)
    with journal.keep_log():
        async with open_fleet(house, plan.workers, journal.note) as workers:
            yield Chaos(plan, house, workers, journal)
