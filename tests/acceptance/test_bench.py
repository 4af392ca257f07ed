"""`worker bench`: plausible figures, none of a run that has lost a task, and nothing left of it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.processes import ROOT, descendants, environment_of, is_running
from uow import Database, Settings
from uow.broker.redis import RedisClient
from uow.proofs.bench.result import Effects, Latency, Throughput, faults, quantile_ms
from uow.proofs.bench.tally import Count, Order, Tally

JOBS = 50


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary directory that whoever runs the servers can reach; short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def start(
    place: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WORKER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "uow", "bench", *arguments],
        env={**(environment or inherited), "TMPDIR": str(place), "COLUMNS": "120"},
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_every_measurement_has_plausible_figures_and_every_task_ran_once(place: Path) -> None:
    with start(place, f"--jobs={JOBS}", "--json") as process:
        output, complaints = process.communicate(timeout=50)
    assert process.returncode == 0, complaints
    assert not complaints
    found = json.loads(output)
    assert found["holds"]
    assert found["faults"] == []
    assert found["servers"]["postgres_fsync"]
    assert found["workers"]["processes"] == 1
    measured = found["measurements"]
    for name in ("no_op", "durable", "database"):
        check_throughput(measured[name])
    for name in ("latency_no_op", "latency_durable"):
        check_latency(measured[name])
    assert len(measured) == 5
    assert measured["durable"]["postgres_wal_bytes_per_job"] > 0
    assert list(place.iterdir()) == []  # it leaves nothing behind


def check_throughput(figures: dict[str, Any]) -> None:
    assert figures.keys() == set(Throughput.__dataclass_fields__)
    assert (figures["jobs"], figures["missing"], figures["doubled"]) == (JOBS, 0, 0)
    assert 1 < figures["run_jobs_per_second"] < 1_000_000
    assert 1 < figures["enqueue_jobs_per_second"] < 1_000_000
    assert 0 < figures["worker_cpu_ms_per_job"] < 100
    assert figures["redis_commands_per_job"] > 0


def check_latency(figures: dict[str, Any]) -> None:
    assert figures.keys() == set(Latency.__dataclass_fields__)
    assert (figures["jobs"], figures["missing"], figures["doubled"]) == (JOBS, 0, 0)
    assert 0 < figures["start_p50_ms"] <= figures["start_p99_ms"] <= figures["start_max_ms"]
    assert 0 < figures["enqueue_p50_ms"] <= figures["enqueue_p99_ms"] < 5_000


async def test_on_configured_servers_it_touches_nothing_of_others_and_leaves_nothing(
    settings: Settings, db: Database, redis: RedisClient, place: Path
) -> None:
    await db.execute_once(text("INSERT INTO task (name) VALUES ('theirs')"), {})
    await redis.set("arq:job:theirs", b"theirs")
    arguments = ("--servers", f"--jobs={JOBS}", "--only=no-op", "--only=durable", "--processes=2")
    theirs = {"WORKER_METRICS_PORT": "1", "WORKER_HEALTH_PORT": "1"}  # not for two processes
    environment = environment_of(settings) | theirs
    with start(place, *arguments, environment=environment) as process:
        output, complaints = process.communicate(timeout=50)
    assert process.returncode == 0, complaints
    assert f"✓ each of {2 * JOBS} tasks has run exactly once" in output
    assert "2 processes" in output
    assert await what_is_there(db, redis) == (["worker.task"], [b"arq:job:theirs"])


def test_it_measures_with_metrics_on_in_each_of_several_processes(place: Path) -> None:
    arguments = (f"--jobs={JOBS}", "--only=durable", "--processes=2", "--metrics")
    with start(place, *arguments) as process:
        output, complaints = process.communicate(timeout=50)
    assert process.returncode == 0, complaints
    assert "2 processes, 10 tasks at once in each, with metrics" in output


async def test_an_interrupted_run_leaves_nothing_on_configured_servers_either(
    settings: Settings, db: Database, redis: RedisClient, place: Path
) -> None:
    arguments = ("--servers", "--jobs=50000", "--only=no-op")
    with start(place, *arguments, environment=environment_of(settings)) as process:
        wait_for(lambda: any(map(has_run, place.glob("worker-bench-*/bench.no_op.*.tally"))))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=50)
    assert process.returncode != 0
    assert await what_is_there(db, redis) == (["worker.task"], [])


async def what_is_there(db: Database, redis: RedisClient) -> tuple[list[str], list[bytes]]:
    tables = text("SELECT schemaname || '.' || tablename FROM pg_tables WHERE tablename = 'task'")
    found = await db.execute_once(tables, {})
    return list(found.scalars()), await redis.keys("*")


def has_run(tally: Path) -> bool:
    """Whether a process has run a task: the first number in its tally."""
    return any(tally.read_bytes()[:8])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_survives_the_command(how: signal.Signals, place: Path) -> None:
    with start(place, "--jobs=50000", "--only=no-op") as process:
        wait_for(lambda: list(place.glob("worker-bench-*/bench.no_op.order")))
        started = descendants(process.pid)
        assert len(started) > 2  # a worker and two servers
        process.send_signal(how)
        process.communicate(timeout=50)
    assert process.returncode != 0
    deadline = time.monotonic() + 10
    while (left := [pid for pid in started if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_without_configured_servers_that_is_one_clear_line(place: Path) -> None:
    with start(place, "--servers") as process:
        _, complaints = process.communicate(timeout=50)
    assert process.returncode == 1
    assert complaints == (
        "worker: --servers measures the configured servers: set WORKER_DATABASE_URL\n"
    )


@pytest.mark.parametrize(
    ("runs", "effects", "found"),
    [
        ([1, 1, 1], Effects(), []),
        ([1, 1, 1], Effects(succeeded=3, audited=3, counted=3), []),
        ([1, 0, 1], Effects(), ["x: 1 of 3 tasks have not run"]),
        ([1, 2, 1], Effects(), ["x: 1 of 3 tasks have run more than once"]),
        ([1, 1, 1], Effects(succeeded=2), ["x: 2 instead of 3 rows of tasks that succeeded"]),
        ([1, 1, 1], Effects(3, audited=4, counted=3), ["x: 4 instead of 3 audit rows"]),
        ([1, 1, 1], Effects(3, 3, counted=0), ["x: 0 instead of 3 counted by the counters"]),
    ],
    ids=["well", "well, with rows", "lost", "doubled", "unsettled", "written twice", "unwritten"],
)
def test_a_task_that_is_lost_or_doubled_is_a_fault(
    runs: list[int], effects: Effects, found: list[str]
) -> None:
    count = Count(runs, [1] * len(runs), 2, 0.0, frozenset())
    assert faults("x", count, effects) == found


async def test_a_tally_knows_which_task_ran_how_often(tmp_path: Path) -> None:
    order = Order(tmp_path, "x", 3, gated=False)
    tally = Tally(tmp_path, "x")
    for number in (0, 2, 2):
        await tally.pass_gate()
        tally.begin(number)
        tally.end(number)
    (tmp_path / f"x.{os.getpid()}.tally").rename(tmp_path / "x.1.tally")
    other = Tally(tmp_path, "x")  # of another process
    other.begin(2)
    other.end(2)
    count = order.count()
    assert list(count.runs) == [1, 0, 3]
    assert (count.missing, count.doubled, order.ended) == (1, 1, 4)
    assert set(order.pids) == {1, os.getpid()}
    assert count.starts[1] == 0
    assert 0 < count.starts[0] < count.starts[2] < count.last_end
    assert count.seconds > 0


def test_quantiles_are_values_that_were_measured() -> None:
    values = [n * 1_000_000 for n in range(1, 201)]
    assert (quantile_ms(values, 0.5), quantile_ms(values, 0.99)) == (100, 198)
    assert quantile_ms([], 0.5) == 0


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 40
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
