"""A whole run: servers, fleet, tasks and faults together, then patience, then the verdict."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.proofs.chaos.baseline import open_stock_arq
from uow.proofs.chaos.checker import Verdict, check
from uow.proofs.chaos.faults import Faults
from uow.proofs.chaos.fleet import Fleet
from uow.proofs.chaos.journal import Journal
from uow.proofs.chaos.plan import ChaosPlan, Done
from uow.proofs.chaos.producer import Producer
from uow.proofs.chaos.system import LEASE_SECONDS, UNCLEAR, System, open_our_worker

LOOK_SECONDS = 0.25

IMPORTS = ("uow.proofs.chaos.tasks", "uow.proofs.chaos.baseline")
"""What our workers and the baseline's import beside what every worker does."""

QUIET_SECONDS = 3.0
"""Longer than any task takes: time for what a thawed worker was doing to show as a repetition."""

LINGER_SECONDS = 3 * LEASE_SECONDS
"""What dead workers have left in Redis expires with their leases; what stays longer is wrong."""

_EFFECTS = text("SELECT count(*) FROM chaos_effect")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is."""

    acknowledged: int
    unknown: int
    effects: int
    unfinished: int
    done: Done
    exits: int


@dataclass(frozen=True, slots=True)
class ChaosReport:
    """How a run ended."""

    plan: ChaosPlan
    verdict: Verdict
    done: Done
    exits: Sequence[str]
    seconds: float

    @property
    def holds(self) -> bool:
        """Nothing lost, doubled or stuck, and no worker ended but by our hand."""
        return self.verdict.holds and not self.exits


async def run_chaos(
    plan: ChaosPlan, journal: Journal, show: Callable[[Snapshot], None]
) -> ChaosReport:
    """Do what the plan says; leaves no process behind.

    Args:
        plan: What to do.
        journal: Where it is written down.
        show: Called several times a second.

    Raises:
        EmbeddedServerError: A server's binaries are not there or do not start.
    """
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(EmbeddedPostgres())
        redis = await stack.enter_async_context(EmbeddedRedis())
        opening = open_stock_arq if plan.baseline else open_our_worker
        system: System = await stack.enter_async_context(opening(postgres.url, redis.url))
        fleet = Fleet(
            system.command, plan.workers,
            imports=IMPORTS, logs=journal.directory, note=journal.note,
        )  # fmt: skip
        await stack.enter_async_context(fleet)
        producer = Producer(system, plan.tasks, plan.seconds, journal.note)
        faults = Faults(fleet, postgres, redis, journal.note)
        watch = _Watch(system, fleet, producer, faults, show)
        await _produce_under_faults(plan, producer, faults, watch)
        journal.note("no more tasks, no more faults")
        await _wait_until_finished(watch, system, plan.patience)
        await fleet.close()
        journal.note("no more workers")
        verdict = await check(system, producer.acknowledged, producer.unknown)
        return ChaosReport(plan, verdict, faults.done, fleet.exits, time.monotonic() - began)


class _Watch:
    """Looks at everything, also while servers are away."""

    def __init__(
        self,
        system: System,
        fleet: Fleet,
        producer: Producer,
        faults: Faults,
        show: Callable[[Snapshot], None],
    ) -> None:
        self._system = system
        self._fleet = fleet
        self._producer = producer
        self._faults = faults
        self._show = show
        self._effects = self._unfinished = 0

    async def look(self) -> Snapshot:
        """What there is now; of a server that does not answer, what was there before."""
        with contextlib.suppress(*UNCLEAR):
            found = await self._system.db.execute_once(_EFFECTS, {})
            self._effects = int(found.scalar_one())
            self._unfinished = await self._system.unfinished()
        snapshot = Snapshot(
            acknowledged=len(self._producer.acknowledged),
            unknown=len(self._producer.unknown),
            effects=self._effects,
            unfinished=self._unfinished,
            done=self._faults.done,
            exits=len(self._fleet.exits),
        )
        self._show(snapshot)
        return snapshot


async def _produce_under_faults(
    plan: ChaosPlan, producer: Producer, faults: Faults, watch: _Watch
) -> None:
    async with asyncio.TaskGroup() as group:
        working = [
            group.create_task(producer.run()),
            group.create_task(faults.run(plan.faults())),
        ]
        while not all(work.done() for work in working):
            await watch.look()
            await asyncio.sleep(LOOK_SECONDS)


async def _wait_until_finished(watch: _Watch, system: System, patience: float) -> None:
    """Return when nothing is left to do, or nothing was done for `patience` seconds."""
    best, since = (-1, 0), time.monotonic()
    while True:
        now = await watch.look()
        if now.unfinished == 0:
            await asyncio.sleep(QUIET_SECONDS)
            await _wait_for_redis(system)
            return
        progress = (now.effects, -now.unfinished)
        if progress > best:
            best, since = progress, time.monotonic()
        if time.monotonic() - since > patience:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _wait_for_redis(system: System) -> None:
    for _ in range(int(LINGER_SECONDS / LOOK_SECONDS)):
        if not await system.leftovers():
            return
        await asyncio.sleep(LOOK_SECONDS)
