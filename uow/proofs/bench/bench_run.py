"""A whole run: servers, workers, one measurement after the other, then the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uow.proofs.bench.facts import Machine, Servers, machine, servers
from uow.proofs.bench.measure import Bench, Show
from uow.proofs.bench.plan import BenchPlan, Measurement
from uow.proofs.bench.result import Latency, Throughput, faults
from uow.proofs.bench.runs import Run
from uow.proofs.bench.site import Site, open_site
from uow.proofs.bench.tasks import database, durable, latency_durable, latency_no_op, no_op
from uow.proofs.bench.workers import open_workers, peak_memory

_MANY = {
    Measurement.NO_OP: no_op,
    Measurement.DURABLE: durable,
    Measurement.DATABASE: database,
}

_ONE_BY_ONE = (latency_no_op, latency_durable)


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What was measured.

    Attributes:
        event_loops: Of the processes, as they said themselves.
        peak_memory_bytes: Of each process; empty where the system does not tell.
    """

    processes: int
    concurrency: int
    stock: bool
    metrics: bool
    event_loops: Sequence[str]
    peak_memory_bytes: Sequence[int]


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What came out.

    Attributes:
        figures: By the name of the measurement.
        faults: What must not be; without any, every task has run exactly once.
    """

    plan: BenchPlan
    machine: Machine
    servers: Servers
    workers: WorkerFacts
    figures: Mapping[str, Throughput | Latency]
    faults: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether every task has run exactly once."""
        return not self.faults


async def run_bench(plan: BenchPlan, show: Show) -> BenchReport:
    """Measure what the plan says; leaves no process, table or key behind.

    Args:
        plan: What to measure.
        show: Told how far it is.

    Raises:
        EmbeddedServerError: A throwaway server's binaries are not there or do not start.
        ServerUnreachable: A configured server does not answer.
        SettingsError: A setting is missing or does not fit.
        WorkerError: A worker has ended.
    """
    show("starting the servers", 0, 1)
    here = machine()
    async with open_site(plan) as site:
        where = await servers(site, embedded=not plan.servers)
        async with open_workers(plan, site) as workers:
            bench = Bench(plan, site, workers, show)
            await bench.warm_up()
            runs = await _measure(plan, bench)
            memory = _memory(runs)
        show("stopping", 1, 1)
        return _report(plan, here, where, site, runs, memory)


async def _measure(plan: BenchPlan, bench: Bench) -> dict[str, Run]:
    runs: dict[str, Run] = {}
    for measurement, function in _MANY.items():
        if measurement in plan.only:
            runs[measurement] = await bench.throughput(function)
    if Measurement.LATENCY in plan.only:
        for function in _ONE_BY_ONE:
            kind = Measurement.DURABLE if function.durable else Measurement.NO_OP
            runs[f"{Measurement.LATENCY} {kind}"] = await bench.latency(function)
    return runs


def _memory(runs: Mapping[str, Run]) -> list[int]:
    pids = {pid for run in runs.values() for pid in run.order.pids}
    return [peak for pid in sorted(pids) if (peak := peak_memory(pid)) is not None]


def _report(
    plan: BenchPlan,
    here: Machine,
    where: Servers,
    site: Site,
    runs: Mapping[str, Run],
    memory: list[int],
) -> BenchReport:
    counts = {name: run.order.count() for name, run in runs.items()}
    return BenchReport(
        plan=plan,
        machine=here,
        servers=where,
        workers=WorkerFacts(
            processes=plan.processes,
            concurrency=site.settings.concurrency,
            stock=plan.stock,
            metrics=plan.metrics,
            event_loops=sorted({loop for count in counts.values() for loop in count.loops}),
            peak_memory_bytes=memory,
        ),
        figures={name: run.figures() for name, run in runs.items()},
        faults=[
            fault for name, run in runs.items() for fault in faults(name, counts[name], run.effects)
        ],
    )
