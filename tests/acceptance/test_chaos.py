"""`worker chaos` keeps every promise, its checker can fail, and nothing survives it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, descendants, is_running
from uow import Database, Settings, TaskClient
from uow.proofs.chaos.checker import Verdict, check, judge
from uow.proofs.chaos.plan import ChaosPlan, FaultKind
from uow.proofs.chaos.system import OurWorker
from uow.proofs.chaos.tasks import EFFECTS, TaskKind, apply, expected_parts, kind_of

SHORT = (
    "--tasks=150", "--workers=2", "--kills=4", "--redis-losses=1", "--postgres-restarts=1",
    "--stops=1", "--stop-seconds=2", "--patience=60",
)  # fmt: skip


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary directory that whoever runs the servers can reach; short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def command(place: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "uow", "chaos", f"--artifacts={place / 'kept'}", *arguments],
        env={**os.environ, "TMPDIR": str(place)}, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.timeout(150)
def test_nothing_is_lost_doubled_or_stuck_whatever_is_killed(place: Path) -> None:
    with command(place, *SHORT) as process:
        output, _ = process.communicate(timeout=140)
    assert process.returncode == 0, output
    assert "seed" in output


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_survives_the_command_not_even_a_frozen_one(
    how: signal.Signals, place: Path
) -> None:
    with command(
        place, "--tasks=2000", "--kills=5", "--stops=30", "--stop-seconds=60", "--workers=2"
    ) as process:
        frozen = _wait_for(place / "kept" / "events.log", "  stop worker")
        assert frozen
        started = descendants(process.pid)
        assert len(started) > 4  # two workers, their parent, two servers
        process.send_signal(how)
        process.communicate(timeout=30)
    assert process.returncode != 0
    deadline = time.monotonic() + 10
    while (left := [pid for pid in started if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_the_same_seed_makes_the_same_faults() -> None:
    assert ChaosPlan(seed=7).faults() == ChaosPlan(seed=7).faults()
    assert ChaosPlan(seed=7).faults() != ChaosPlan(seed=8).faults()


def test_the_plan_has_every_fault_that_was_ordered_in_its_time() -> None:
    plan = ChaosPlan(seed=7, tasks=10_000, kills=200, redis_losses=10, postgres_restarts=5, stops=5)
    faults = plan.faults()
    many = {kind: sum(fault.kind is kind for fault in faults) for kind in FaultKind}
    assert many[FaultKind.KILL] == 200
    assert many[FaultKind.STOP] == 5
    assert many[FaultKind.REDIS_KILL] + many[FaultKind.REDIS_FLUSH] == 10
    assert many[FaultKind.POSTGRES_CRASH] + many[FaultKind.POSTGRES_RESTART] == 5
    assert all(0 <= fault.at <= plan.seconds for fault in faults)


ONE, TWO = (
    next(n for n in range(20) if kind_of(n) is kind) for kind in (TaskKind.ONE, TaskKind.TWO_BLOCKS)
)


@pytest.mark.parametrize(
    ("applied", "unfinished", "found"),
    [
        ({(ONE, 0): 1, (TWO, 0): 1, (TWO, 1): 1}, (), Verdict([], [], [])),
        ({(ONE, 0): 1, (TWO, 0): 1}, (), Verdict([(TWO, 1)], [], [])),
        ({(ONE, 0): 1, (TWO, 0): 1}, (TWO,), Verdict([], [], [])),
        ({(ONE, 0): 2, (TWO, 0): 1, (TWO, 1): 3}, (), Verdict([], [(ONE, 0), (TWO, 1)], [])),
        ({(TWO, 0): 1, (TWO, 1): 1}, (), Verdict([(ONE, 0)], [], [])),
        ({(ONE, 0): 1, (ONE, 1): 1, (999, 0): 1}, (), Verdict([], [], [(ONE, 1), (999, 0)])),
    ],
    ids=["all well", "half a task", "half, but not finished", "twice", "lost", "unasked"],
)
def test_a_verdict(
    applied: dict[tuple[int, int], int], unfinished: tuple[int, ...], found: Verdict
) -> None:
    """`ONE` was acknowledged; whether `TWO` was enqueued is unknown."""
    assert judge({ONE}, {TWO}, applied, unfinished) == found


def test_a_task_that_was_never_answered_may_be_there_or_not_but_whole() -> None:
    assert judge({ONE}, {TWO}, {(ONE, 0): 1}) == Verdict([], [], [])


@pytest.fixture
async def system(db: Database, client: TaskClient, settings: Settings) -> OurWorker:
    await db.execute_once(EFFECTS, {})
    return OurWorker(db, client, settings)


async def add_effects(db: Database, number: int) -> None:
    async with db.get_session() as session:
        for part in expected_parts(number):
            await apply(session, number, part, 1)


async def test_the_checker_reports_an_effect_that_is_there_twice(
    system: OurWorker, db: Database
) -> None:
    await add_effects(db, ONE)
    assert (await check(system, {ONE}, set())).holds
    await add_effects(db, ONE)
    verdict = await check(system, {ONE}, set())
    assert not verdict.holds
    assert verdict.faults == [f"doubled: part 0 of {ONE}"]


async def test_the_checker_reports_a_task_that_is_gone(system: OurWorker) -> None:
    verdict = await check(system, {ONE}, set())
    assert verdict.faults == [f"lost: part 0 of {ONE}"]


async def test_the_checker_reports_a_task_that_nobody_has_run_and_what_lies_in_redis(
    system: OurWorker, client: TaskClient
) -> None:
    await system.enqueue(ONE)
    await client.flush()
    verdict = await check(system, {ONE}, set())
    assert verdict.stuck == 1
    assert verdict.lost == []
    assert verdict.leftovers == {"queue": 1, "arq:job": 1}
    assert f"chaos.one {ONE} queued, attempt 0" in verdict.descriptions[0]
    assert not verdict.holds


async def test_a_run_in_which_no_enqueue_was_answered_proves_nothing(system: OurWorker) -> None:
    assert not (await check(system, set(), {ONE})).holds


def _wait_for(file: Path, part: str) -> str:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        lines = file.read_text().splitlines() if file.exists() else []
        for line in lines:
            if part in line and "planned" not in line:
                return line
        time.sleep(0.05)
    raise AssertionError(f"{part!r} was not written to {file}")
