"""A worker that is told to stop does so in time, and burns no try."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text

from tests.conformance import tasks
from tests.conformance.conftest import (
    READY,
    WORKERS,
    House,
    effects_of,
    wait_until,
    wait_until_running,
)
from tests.conformance.mortal import MOMENTS
from tests.processes import WorkerProcess, environment_of, run_logged
from uow import TaskState
from uow.process.signals import ONE_SIGNAL_SECONDS, STOP_SIGNALS


@pytest.mark.timeout(180)  # twenty starts of a process
async def test_twenty_sigterms_on_one_running_task_burn_no_try(house: House) -> None:
    handle = await house.client.enqueue(tasks.linger)
    for n in range(1, 21):
        worker = await house.start_worker()

        async def runs_again(n: int = n) -> bool:
            view = await house.client.get(handle.id)
            return view is not None and view.progress == {"attempt": n}

        await wait_until(runs_again)
        assert await asyncio.to_thread(worker.terminate) == 0, worker.log
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.state, view.attempt, view.tries) == (TaskState.QUEUED, 20, 0)
    assert view.errors == ()


async def test_a_task_that_makes_an_error_of_its_interruption_burns_no_try(house: House) -> None:
    handle = await house.client.enqueue(tasks.convert_cancellation)
    for n in (1, 2):
        worker = await house.start_worker()

        async def runs_again(n: int = n) -> bool:
            view = await house.client.get(handle.id)
            return view is not None and view.progress == {"attempt": n}

        await wait_until(runs_again)
        assert await asyncio.to_thread(worker.terminate) == 0, worker.log
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.state, view.attempt, view.tries) == (TaskState.QUEUED, 2, 0)
    assert view.errors == ()
    count = await house.db.execute_once(text("SELECT setbacks FROM task"), {})
    assert count.scalar_one() == 0


async def test_lifespans_are_left_in_the_last_quarter_of_the_grace(house: House) -> None:
    """And a task that would take longer is handed back before it, without a try."""
    modules = "tests.conformance.tasks,tests.conformance.lifespan_tasks"
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="6", WORKER_TASK_MODULES=modules)
    handle = await house.client.enqueue(tasks.hold, what="too long")
    await wait_until_running(house.client, handle.id)
    began = time.monotonic()
    assert await asyncio.to_thread(worker.terminate) == 0, worker.log
    assert 4.4 < time.monotonic() - began < 6
    assert worker.log.index("inner was left") < worker.log.index("outer was left")
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.state, view.tries) == (TaskState.QUEUED, 0)


async def test_running_tasks_get_their_grace(house: House) -> None:
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="10")
    handle = await house.client.enqueue(tasks.hold, what="in time", seconds=1)
    await wait_until_running(house.client, handle.id)
    waiting = await house.client.enqueue(tasks.effect.options(delay=0.5), what="too late")
    assert await asyncio.to_thread(worker.terminate) == 0
    assert await handle.status() is TaskState.SUCCEEDED
    assert await effects_of(house.db) == ["in time"]
    assert not (await waiting.status()).settled


async def test_a_leader_that_is_told_to_stop_leads_no_longer_while_its_tasks_end(
    house: House,
) -> None:
    """Else it fired the ticks of a deploy, and nobody would run them in time."""
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="20")
    await asyncio.to_thread(worker.wait_for_log, "leads the fleet")
    handle = await house.client.enqueue(tasks.hold, what="once")
    await wait_until_running(house.client, handle.id)
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for_log, "does not lead the fleet any more", 5)
    assert worker.process.poll() is None
    other = await house.start_worker()
    await asyncio.to_thread(other.wait_for_log, "leads the fleet", 5)


async def test_a_task_that_ignores_its_cancellation_does_not_hold_the_process(
    house: House,
) -> None:
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="0.5")
    handle = await house.client.enqueue(tasks.ignore_cancellation, what="once")
    await wait_until_running(house.client, handle.id)
    began = time.monotonic()
    assert await asyncio.to_thread(worker.terminate) == 1
    assert time.monotonic() - began < 0.5 + 2
    assert "ends hard" in worker.log
    await house.start_worker()
    await handle.result(15)
    view = await house.client.get(handle.id)
    assert view is not None
    assert view.tries == 0
    assert view.errors == ()  # a hard end after a signal is no death that a task is blamed for
    assert await effects_of(house.db) == ["once"]


async def test_a_second_signal_ends_the_process_at_once(house: House) -> None:
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="60")
    handle = await house.client.enqueue(tasks.linger)
    await wait_until_running(house.client, handle.id)
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for_log, "shutdown on SIGTERM")

    async def has_ended() -> bool:
        worker.process.send_signal(signal.SIGTERM)
        return worker.process.poll() is not None

    await wait_until(has_ended, ONE_SIGNAL_SECONDS + 2)
    assert time.monotonic() - began >= ONE_SIGNAL_SECONDS  # until then it is the first once more
    assert await asyncio.to_thread(worker.wait) == 1
    assert "ends at once" in worker.log


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_sigterm_at_any_moment_of_its_start_ends_a_process_well(
    moment: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    modules = "tests.conformance.tasks,tests.conformance.mortal"
    worker = start_worker(WORKER_TASK_MODULES=modules, MOMENT=moment)
    assert worker.wait() == 0, worker.log
    assert "Traceback" not in worker.log


async def test_two_signals_at_once_are_one(house: House) -> None:
    """A process group and its supervisor, or a closing terminal and its shell, send one each."""
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="10")
    handle = await house.client.enqueue(tasks.hold_until, what="in time", gate=str(house.gate))
    await wait_until_running(house.client, handle.id)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        worker.process.send_signal(number)
    await asyncio.to_thread(worker.wait_for_log, "shutdown on SIG")
    house.gate.touch()
    assert await asyncio.to_thread(worker.wait) == 0, worker.log
    assert await effects_of(house.db) == ["in time"]


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)
async def test_each_signal_that_stops_a_process_gives_its_grace_and_blames_no_task(
    house: House, number: signal.Signals
) -> None:
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="1.5")
    held = await house.client.enqueue(tasks.hold_until, what="in time", gate=str(house.gate))
    handle = await house.client.enqueue(tasks.linger)
    for one in (held, handle):
        await wait_until_running(house.client, one.id)
    worker.process.send_signal(number)
    await asyncio.to_thread(worker.wait_for_log, "shutdown on SIG")
    house.gate.touch()
    assert await asyncio.to_thread(worker.wait) == 0, worker.log
    assert await effects_of(house.db) == ["in time"]
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.state, view.tries) == (TaskState.QUEUED, 0)
    deaths = await house.db.execute_once(text("SELECT sum(deaths) FROM task"), {})
    assert deaths.scalar_one() == 0


async def test_nohup_lets_a_worker_outlive_the_terminal(house: House, worker_kind: str) -> None:
    shell = ["sh", "-c", 'trap "" HUP QUIT; exec "$@"', "sh"]
    command = [*shell, sys.executable, "-m", "uow", "run", *WORKERS[worker_kind]]
    worker = run_logged(command, environment_of(house.settings))
    try:
        await asyncio.to_thread(worker.wait_for_log, READY)
        for number in (signal.SIGHUP, signal.SIGQUIT):
            worker.process.send_signal(number)
        await (await house.client.enqueue(tasks.effect, what="later")).result(10)
        assert await asyncio.to_thread(worker.terminate) == 0, worker.log
    finally:
        worker.kill9()


async def test_a_thread_that_does_not_return_does_not_hold_the_process(house: House) -> None:
    """Python waits for threads, also for those of a task that was handed back long ago."""
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="0.5")
    for _ in range(10):  # more than the pool has, so that nobody gets a thread at the end
        handle = await house.client.enqueue(tasks.wait_for_a_thread)
    await wait_until_running(house.client, handle.id)
    began = time.monotonic()
    assert await asyncio.to_thread(worker.terminate) == 0, worker.log
    assert time.monotonic() - began < 0.5 + 2
    assert "only threads of the tasks were left: " in worker.log
    assert not (await handle.status()).settled


@pytest.mark.parametrize("hangs", ["redis", "postgres", "both"])
async def test_servers_that_hang_do_not_hold_a_stopping_process(house: House, hangs: str) -> None:
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="0.5")
    handle = await house.client.enqueue(tasks.linger)
    await wait_until_running(house.client, handle.id)
    servers = [s for s in (house.redis, house.postgres) if hangs in (s.name.lower(), "both")]
    assert servers
    for server in servers:
        server.pause()
    began = time.monotonic()
    await asyncio.to_thread(worker.terminate)
    assert time.monotonic() - began < 0.5 + 2
    for server in servers:
        server.resume()


async def test_redis_away_at_shutdown_is_no_error(house: House) -> None:
    worker = await house.start_worker()
    house.redis.kill9()
    assert await asyncio.to_thread(worker.terminate) == 0, worker.log


async def test_a_worker_that_a_task_has_cancelled_says_so_and_ends_with_an_error(
    house: House,
) -> None:
    worker = await house.start_worker()
    await house.client.enqueue(tasks.cancel_everything)
    assert await asyncio.to_thread(worker.wait) == 1, worker.log
    assert "cancelled asyncio tasks that are not its own" in worker.log
