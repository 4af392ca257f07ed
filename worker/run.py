"""Runs a worker in this process: ours or stock arq's, for our tasks or for anybody's functions.

What only our tasks need is imported when they are run: somebody's arq class needs no ORM, and would
pay for it with each process.
"""

import asyncio
import gc
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from arq.worker import Worker, get_kwargs

from worker import exhaustion
from worker.errors import Exhausted, SettingsError, WorkerDied
from worker.fast.arq_settings import load
from worker.fast.worker import FastWorker
from worker.signals import Deadline, held_back, stop_process

if TYPE_CHECKING:
    from worker.settings import Settings

MAX_JOBS = 10
"""What arq runs at once unless its settings class says otherwise."""

YOUNG_OBJECTS = 20_000
"""New objects between two looks of the garbage collector at those. (CPython: 700 to 2,000.)"""


def run_tasks(settings: "Settings", *, stock: bool = False, burst: bool = False) -> None:
    """Run our tasks until told to stop.

    Args:
        stock: With arq's own engine instead of ours.
        burst: End when nothing is due.

    Raises:
        Exhausted: The process has been out of file descriptors or memory for too long.
        ServerUnreachable: Postgres or Redis did not answer in time.
        SettingsError: As `worker.main.worker_settings`; or several queues for the stock worker.
        WorkerDied: A service has ended by an error of its own.
    """
    from worker.main import worker_settings
    from worker.services.readiness import wait_for_servers

    loop = _set_event_loop()
    options: dict[str, Any] = {**get_kwargs(worker_settings(settings)), "burst": burst}
    loop.run_until_complete(wait_for_servers(settings, serves=settings.served_queues))
    if stock:
        _refuse_several_queues(settings)
    with held_back():
        worker = _stock_worker(options) if stock else _task_worker(settings, options)
    _spare_the_collector()
    worker.run()
    _raise_what_it_died_of(worker)
    if worker.allow_pick_jobs and not worker.burst:
        raise WorkerDied(
            "the worker was cancelled, and nobody had told it to stop: has a task function "
            "cancelled asyncio tasks that are not its own?"
        )


def run_arq_settings(path: str, overrides: Mapping[str, Any], *, allow_pickle: bool) -> None:
    """Run the functions of anybody's arq settings class on our engine; Postgres is not needed.

    Args:
        path: ``module.Name``.
        overrides: Options that win over the class.
        allow_pickle: Whether jobs may be read with pickle.

    Raises:
        Exhausted: As `run_tasks`.
        SettingsError: The class is not there, or says something that is refused.
    """
    _set_event_loop()
    options = load(path, allow_pickle=allow_pickle)
    exhaustion.make_room(int({"max_jobs": MAX_JOBS, **options, **overrides}["max_jobs"]), 0)
    with held_back():
        worker = FastWorker(**{**options, **overrides, "handle_signals": True})
    worker.on_death = partial(stop_process, worker.ctx)
    deadline = Deadline(float(options.get("job_completion_wait", 0)), worker.wake)
    worker.loop.call_soon(deadline.watch)  # first of all, as soon as the loop runs
    _spare_the_collector()
    worker.run()
    deadline.release(1 if "died_of" in worker.ctx else 0)
    _raise_what_it_died_of(worker)


def _raise_what_it_died_of(worker: Worker) -> None:
    error = worker.ctx.get("died_of")
    if isinstance(error, Exhausted):
        raise error
    if error is not None:
        raise WorkerDied(f"a service of the worker has ended: {error!r}; see the log") from error


def _stock_worker(options: Mapping[str, Any]) -> Worker:
    from worker.stock import BurstWorker, StockWorker

    return BurstWorker(**options) if options["burst"] else StockWorker(**options)


def _task_worker(settings: "Settings", options: Mapping[str, Any]) -> Worker:
    from worker.fast.task_worker import TaskWorker

    return TaskWorker(
        **options,
        queues=settings.served_queues,
        lease_seconds=settings.lease_seconds,
        stall_limit=settings.stall_limit,
    )


def _refuse_several_queues(settings: "Settings") -> None:
    if list(settings.served_queues) != [settings.queue]:
        raise SettingsError(
            f"the stock worker serves one queue, WORKER_QUEUE={settings.queue}; unset "
            "WORKER_QUEUES, or run without --stock"
        )


def _spare_the_collector() -> None:
    """Let Python's garbage collector leave alone what stays as long as the process: the modules.

    It looks at everything whenever much was made, and an ORM makes much: database jobs are 5 to 8 %
    faster with this.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def _set_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
