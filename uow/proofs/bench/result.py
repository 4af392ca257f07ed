"""What came out, and whether it may be believed: every task must have run exactly once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from uow.proofs.bench.tally import Count


@dataclass(frozen=True, slots=True)
class Effects:
    """What lies in Postgres when all is done.

    Attributes:
        succeeded: Tasks whose row says so; None: they have no row.
        audited: Audit rows; None: the tasks write none.
        counted: What the counters have been raised by; None: the tasks have none.
    """

    succeeded: int | None = None
    audited: int | None = None
    counted: int | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """Many tasks at once."""

    jobs: int
    missing: int
    doubled: int
    enqueue_jobs_per_second: float
    run_jobs_per_second: float
    worker_cpu_ms_per_job: float
    postgres_wal_bytes_per_job: float | None
    redis_commands_per_job: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """One task after another, on an idle worker.

    Attributes:
        start_p50_ms: From just before the enqueue to the function's first line.
        enqueue_p50_ms: How long the caller waits for its enqueue.
    """

    jobs: int
    missing: int
    doubled: int
    start_p50_ms: float
    start_p99_ms: float
    start_max_ms: float
    enqueue_p50_ms: float
    enqueue_p99_ms: float


def faults(name: str, count: Count, effects: Effects) -> list[str]:
    """One line for each promise that was not kept.

    Args:
        name: What was measured.
        count: What the workers have run.
        effects: What Postgres says about it.
    """
    jobs = len(count.runs)
    found = []
    if count.missing:
        found.append(f"{count.missing} of {jobs} tasks have not run")
    if count.doubled:
        found.append(f"{count.doubled} of {jobs} tasks have run more than once")
    for there, what in (
        (effects.succeeded, "rows of tasks that succeeded"),
        (effects.audited, "audit rows"),
        (effects.counted, "counted by the counters"),
    ):
        if there is not None and there != jobs:
            found.append(f"{there} instead of {jobs} {what}")
    return [f"{name}: {fault}" for fault in found]


def quantile_ms(nanoseconds: Sequence[int], quantile: float) -> float:
    """The value below which this part of the values lies (nearest rank); 0 if there is none."""
    if not nanoseconds:
        return 0.0
    ordered = sorted(nanoseconds)
    return ordered[max(math.ceil(quantile * len(ordered)) - 1, 0)] / 1e6
