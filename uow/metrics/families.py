"""Makes the metrics of what is counted and read, as prometheus-client wants them.

The names, with their labels, are in ``docs/telemetry.md``.
"""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from uow.db.backlog import LOOKED_AT
from uow.metrics.metrics import Metrics
from uow.metrics.tallies import Durations, TaskTally
from uow.metrics.workers import ObservedWorker
from uow.telemetry.release import release

STATES = ("scheduled", "queued", "running", "retrying")
"""Shown of each queue that is served, also when there is none in it."""


class Collector:
    """A registry of our own, with nothing but what is ours in it; for one text.

    Args:
        openmetrics: In that format a counter's name is without ``_total``, and `worker_tasks` is
            that of the gauge: so it calls `worker_tasks_total` a value of unknown type.
    """

    def __init__(self, metrics: Metrics, *, openmetrics: bool) -> None:
        self._metrics = metrics
        self._openmetrics = openmetrics

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        metrics, workers = self._metrics, [*self._metrics.workers]
        tallies = metrics.attempts()
        yield _build_info()
        yield self._tasks_total(tallies)
        yield _histogram(
            "worker_task_duration_seconds", "From the start of an attempt until its outcome was "
            "written.", ((key, tally.ran) for key, tally in tallies),
        )  # fmt: skip
        yield _histogram(
            "worker_task_wait_seconds", "From when a task was due until its attempt began; told "
            "when that has ended.", ((key, tally.waited) for key, tally in tallies),
        )  # fmt: skip
        yield _missed(metrics.missed.counts)
        if workers:  # a process that only enqueues has none of these
            yield _servers(metrics.servers.up)
            yield _by_state("worker_slots", "Places for tasks.", _slots(workers))
            yield _loop_lag(workers)
            yield _by_state(
                "worker_pool_connections", "Connections to Postgres.", _connections(workers)
            )
        yield from _fleet(workers)

    def _tasks_total(self, tallies: list[tuple[tuple[str, str], TaskTally]]) -> Metric:
        labels = ("task", "queue", "outcome")
        told = "Attempts that have ended, by how."
        family: CounterMetricFamily | UnknownMetricFamily
        if self._openmetrics:
            family = UnknownMetricFamily("worker_tasks_total", told, labels=labels)
        else:
            family = CounterMetricFamily("worker_tasks_total", told, labels=labels)
        for (task, queue), tally in tallies:
            for outcome, count in [*tally.outcomes.items()]:
                family.add_metric((task, queue, outcome), count)
        return family


def text_of(metrics: Metrics, *, openmetrics: bool) -> bytes:
    """All metrics as text."""
    collector = Collector(metrics, openmetrics=openmetrics)
    write: Any = openmetrics_exposition.generate_latest if openmetrics else generate_latest
    text: bytes = write(collector)
    return text


@cache
def _build_info() -> Metric:
    return _gauge(
        "worker_build_info", "What runs; its value is 1.", ("version", "python"),
        [((release() or "unknown", platform.python_version()), 1)],
    )  # fmt: skip


def _histogram(
    name: str, told: str, rows: Iterable[tuple[tuple[str, str], Durations]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, told, labels=("task", "queue"))
    for labels, durations in rows:
        family.add_metric(labels, [*_buckets(durations)], durations.total)
    return family


def _buckets(
    durations: Durations,
) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    exemplars = dict(durations.exemplars)
    bounds = [*map(floatToGoString, durations.bounds), "+Inf"]
    for number, count in enumerate(accumulate([*durations.counts])):
        if (one := exemplars.get(number)) is None:
            yield bounds[number], count
        else:
            yield bounds[number], count, Exemplar({"trace_id": one.trace_id}, one.seconds, one.at)


def _missed(counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(
        "worker_schedule_missed_total", "Gaps in which ticks were missed; counted by the leader.",
        labels=("schedule",),
    )  # fmt: skip
    for schedule, count in dict(counts).items():
        family.add_metric((schedule,), count)
    return family


def _servers(up: dict[str, bool]) -> Metric:
    return _gauge(
        "worker_server_up", "Whether a server answers this process.", ("server",),
        (((server,), int(is_up)) for server, is_up in up.items()),
    )  # fmt: skip


def _loop_lag(workers: list[ObservedWorker]) -> Metric:
    return _gauge(
        "worker_loop_lag_seconds", "For how long the event loop has not turned, or had not within "
        "the last minute.", (), [((), max(one.lag() for one in workers))],
    )  # fmt: skip


def _by_state(name: str, told: str, values: dict[str, int]) -> Metric:
    return _gauge(name, told, ("state",), (((state,), value) for state, value in values.items()))


def _slots(workers: list[ObservedWorker]) -> dict[str, int]:
    busy = sum(one.busy() for one in workers)
    return {"busy": busy, "free": max(sum(one.slots for one in workers) - busy, 0)}


def _connections(workers: list[ObservedWorker]) -> dict[str, int]:
    pools = [one.connections() for one in workers]
    return dict(zip(("busy", "idle", "unopened"), map(sum, zip(*pools, strict=True)), strict=True))


def _fleet(workers: list[ObservedWorker]) -> Iterator[Metric]:
    """What the leader has seen; two workers of one process may lead fleets of their own."""
    seen = [(one, waiting) for one in workers if (waiting := one.waiting()) is not None]
    tasks = Counter({(queue, state): 0 for one, _ in seen for queue in one.queues
                     for state in STATES})  # fmt: skip
    oldest: dict[str, float] = {}
    for _, waiting in seen:
        tasks.update(waiting.tasks)
        for queue, due in waiting.oldest.items():
            oldest[queue] = min(due, oldest.get(queue, due))
    yield _gauge(
        "worker_tasks", f"Unsettled tasks; {LOOKED_AT:,} that are pushed and as many that are not "
        "are looked at. Told by the leader.", ("queue", "state"), tasks.items(),
    )  # fmt: skip
    yield _gauge(
        "worker_oldest_waiting_timestamp_seconds", "When the task was due that has waited longest. "
        "Told by the leader.", ("queue",), (((queue,), due) for queue, due in oldest.items()),
    )  # fmt: skip
    lags = [waiting.relay_lag for _, waiting in seen]
    yield _gauge(
        "worker_relay_lag_seconds", "For how long the relays have not looked at what is to be "
        "pushed. Told by the leader.", (), [((), max(lags))] if lags else [],
    )  # fmt: skip


def _gauge(
    name: str, told: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    family = GaugeMetricFamily(name, told, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family
