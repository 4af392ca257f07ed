"""The measurements themselves."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

from uow.errors import WorkerError
from uow.proofs.bench.costs import costs
from uow.proofs.bench.effects import effects_of, unfinished
from uow.proofs.bench.plan import BenchPlan
from uow.proofs.bench.result import Effects
from uow.proofs.bench.runs import LatencyRun, ThroughputRun
from uow.proofs.bench.site import Site
from uow.proofs.bench.tally import Order
from uow.proofs.bench.tasks import warm_up
from uow.proofs.bench.workers import StartedWorkers
from uow.tasks.function import TaskFunction

Function = TaskFunction[Any, None]

Show = Callable[[str, int, int], None]
"""Told what is done now, how many are done, and of how many."""

CHUNK = 1000
"""Tasks per bulk enqueue, each in a transaction of its own …"""

CHUNK_BYTES = 8_000_000
"""… unless their payloads together are longer than this."""

LATENCY_JOBS = 200

INTERVAL_SECONDS = 0.025
"""From one enqueue to the next where latency is measured: longer than a task takes."""

LOOK_SECONDS = 0.02

ARRIVE_SECONDS = 1.0
"""How long every process is given to get its first task before the gate is opened."""

READY_SECONDS = 60.0
"""How long the workers may take to start."""

PATIENCE_SECONDS = 30.0
"""Without progress for so long, what is left counts as not run."""


class Bench:
    """Measures on a site, with its workers.

    Args:
        plan: What.
        site: Where.
        workers: By whom.
        show: Told how far it is.
    """

    def __init__(self, plan: BenchPlan, site: Site, workers: StartedWorkers, show: Show) -> None:
        self._plan = plan
        self._site = site
        self._workers = workers
        self._show = show
        self._padding = _incompressible(plan.payload_bytes)

    async def warm_up(self) -> None:
        """Return when every worker process is ready and has its connections.

        Raises:
            WorkerError: A worker has ended, or is not ready in time.
        """
        processes = self._plan.processes
        order = self._order(warm_up, processes * self._site.settings.concurrency)
        await self._site.enqueue(warm_up, [{"number": number} for number in range(order.jobs)])
        # They wait at the gate, so they fill the slots of one process after the other.
        if not await self._arrive(order, READY_SECONDS):
            raise WorkerError(
                f"{len(order.pids)} of {processes} worker processes were ready within "
                f"{READY_SECONDS:.0f} s: try fewer --processes"
            )
        order.open_gate()
        await self._watch(order, "warming up")
        await self._effects(warm_up)

    async def throughput(self, function: Function) -> ThroughputRun:
        """Enqueue all, then let them run."""
        order = self._order(function, self._plan.jobs)
        before = await costs(self._site)
        enqueue_seconds = await self._enqueue(function, order)
        await self._arrive(order, ARRIVE_SECONDS)
        order.open_gate()
        await self._watch(order, f"{_named(function)}: running")
        effects = await self._effects(function)
        return ThroughputRun(order, effects, enqueue_seconds, before, await costs(self._site))

    async def latency(self, function: Function) -> LatencyRun:
        """Enqueue one, wait a little, enqueue the next."""
        order = self._order(function, min(self._plan.jobs, LATENCY_JOBS), gated=False)
        sent, calls = [], []
        began = time.monotonic()
        for number in range(order.jobs):
            sent.append(time.monotonic_ns())
            await self._site.enqueue(function, [self._arguments(number)])
            calls.append(time.monotonic_ns() - sent[-1])
            self._show(f"{_named(function)}: one by one", number + 1, order.jobs)
            await asyncio.sleep(began + (number + 1) * INTERVAL_SECONDS - time.monotonic())
        await self._watch(order, f"{_named(function)}: one by one")
        return LatencyRun(order, await self._effects(function), sent, calls)

    def _order(self, function: Function, jobs: int, *, gated: bool = True) -> Order:
        return Order(self._site.directory, function.name, jobs, gated=gated)

    def _arguments(self, number: int) -> dict[str, object]:
        padding = {"padding": self._padding} if self._padding else {}
        return {"number": number, **padding}

    async def _enqueue(self, function: Function, order: Order) -> float:
        """Enqueue in bulk; returns the seconds until the last was committed and pushed."""
        seconds = 0.0
        chunk = max(min(CHUNK, CHUNK_BYTES // (self._plan.payload_bytes or 1)), 1)
        for at in range(0, order.jobs, chunk):
            many = [self._arguments(n) for n in range(at, min(at + chunk, order.jobs))]
            began = time.perf_counter()
            await self._site.enqueue(function, many)
            seconds += time.perf_counter() - began
            self._show(f"{_named(function)}: enqueueing", at + len(many), order.jobs)
            self._workers.check()
        began = time.perf_counter()
        await self._site.client.flush()
        return seconds + time.perf_counter() - began

    async def _arrive(self, order: Order, seconds: float) -> bool:
        """Wait until every process has a task that waits at the gate; False: not in this time."""
        processes = self._plan.processes
        until = time.monotonic() + seconds
        while (ready := len(order.pids)) < processes and time.monotonic() < until:
            self._show("waiting for the workers", ready, processes)
            self._workers.check()
            await asyncio.sleep(LOOK_SECONDS)
        return ready >= processes

    async def _watch(self, order: Order, what: str) -> None:
        """Return when every task has run, or nothing has moved for too long."""
        best, since = -1, time.monotonic()
        while time.monotonic() - since < PATIENCE_SECONDS:
            ended = order.ended
            self._show(what, min(ended, order.jobs), order.jobs)
            if ended >= order.jobs and not order.count().missing:
                return
            if ended > best:
                best, since = ended, time.monotonic()
            self._workers.check()
            await asyncio.sleep(LOOK_SECONDS)

    async def _effects(self, function: Function) -> Effects:
        """What Postgres says when everything is settled and out of Redis, or has had the time."""
        until = time.monotonic() + PATIENCE_SECONDS
        while await unfinished(self._site) and time.monotonic() < until:
            self._workers.check()
            await asyncio.sleep(LOOK_SECONDS)
        return await effects_of(self._site, function)


def _incompressible(length: int) -> str:
    """A text that Postgres cannot make much shorter, unlike one letter repeated."""
    return secrets.token_urlsafe(length)[:length]


def _named(function: Function) -> str:
    return function.name.removeprefix("bench.").replace("_", " ")
