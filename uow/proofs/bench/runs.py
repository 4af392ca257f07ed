"""A measurement that is over, and the figures that follow from it.

They are asked for when no worker runs any more, so that what comes late is counted too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from uow.proofs.bench.costs import Costs
from uow.proofs.bench.result import Effects, Latency, Throughput, quantile_ms
from uow.proofs.bench.tally import Order


@dataclass(frozen=True, slots=True)
class ThroughputRun:
    """Many tasks at once."""

    order: Order
    effects: Effects
    enqueue_seconds: float
    before: Costs
    after: Costs

    def figures(self) -> Throughput:
        """Rates and costs."""
        count, jobs = self.order.count(), self.order.jobs
        wal_bytes, redis_commands = self.after.per_job(self.before, jobs)
        return Throughput(
            jobs=jobs,
            missing=count.missing,
            doubled=count.doubled,
            enqueue_jobs_per_second=jobs / self.enqueue_seconds,
            run_jobs_per_second=(jobs - count.missing) / max(count.seconds, 1e-6),
            worker_cpu_ms_per_job=count.cpu_seconds * 1000 / jobs,
            postgres_wal_bytes_per_job=wal_bytes,
            redis_commands_per_job=redis_commands,
        )


@dataclass(frozen=True, slots=True)
class LatencyRun:
    """One task after another.

    Attributes:
        sent: When each was enqueued, in nanoseconds.
        calls: How long each enqueue took, in nanoseconds.
    """

    order: Order
    effects: Effects
    sent: Sequence[int]
    calls: Sequence[int]

    def figures(self) -> Latency:
        """Quantiles."""
        count = self.order.count()
        waits = [start - at for start, at in zip(count.starts, self.sent, strict=True) if start]
        return Latency(
            jobs=self.order.jobs,
            missing=count.missing,
            doubled=count.doubled,
            start_p50_ms=quantile_ms(waits, 0.5),
            start_p99_ms=quantile_ms(waits, 0.99),
            start_max_ms=quantile_ms(waits, 1.0),
            enqueue_p50_ms=quantile_ms(self.calls, 0.5),
            enqueue_p99_ms=quantile_ms(self.calls, 0.99),
        )


Run = ThroughputRun | LatencyRun
