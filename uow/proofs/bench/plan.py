"""What is to be measured, and how."""

from dataclasses import dataclass
from enum import StrEnum


class Measurement(StrEnum):
    """What can be measured."""

    NO_OP = "no-op"
    DURABLE = "durable"
    DATABASE = "database"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The command's options.

    Attributes:
        jobs: Tasks per measurement.
        processes: Worker processes.
        concurrency: Tasks at once in one process; None: as the settings say.
        payload_bytes: By how much each task's arguments are made longer.
        only: What is measured.
        servers: On the configured servers, not on throwaway ones.
        stock: With the stock arq worker.
        metrics: Each worker process counts for ``/metrics``, at any port that is free.
    """

    jobs: int
    processes: int = 1
    concurrency: int | None = None
    payload_bytes: int = 0
    only: frozenset[Measurement] = frozenset(Measurement)
    servers: bool = False
    stock: bool = False
    metrics: bool = False
