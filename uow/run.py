"""Runs a worker in this process: ours or stock arq's, for our tasks or for anybody's functions.

What only our tasks need is imported when they are run: somebody's arq class needs no ORM, and would
pay for it with each process.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from arq.worker import Worker

from uow import exhaustion
from uow.errors import SettingsError, WorkerDied
from uow.fast.arq.sentry import with_wrapped_functions
from uow.fast.arq.settings_class import find, options_of
from uow.fast.worker import FastWorker
from uow.process.death import Death
from uow.process.signals import Deadline, given_back, held_back
from uow.user_code import described

if TYPE_CHECKING:
    from uow.app import AppParts
    from uow.host import Process
    from uow.settings.environment import Settings

logger = logging.getLogger(__name__)

Configure = Callable[[], None]
"""Configures the log, when the application has been imported and may have done so itself."""

YOUNG_OBJECTS = 20_000
"""New objects between two looks of the garbage collector at those. (CPython: 700 to 2,000.)"""


def _as_it_is() -> None: ...


def _say_nothing() -> None: ...


def run_tasks(
    settings: "Settings",
    app: "AppParts | None" = None,
    *,
    stock: bool = False,
    burst: bool = False,
    configure_log: Configure = _as_it_is,
    announce: Callable[[], None] = _say_nothing,
) -> None:
    """Run our tasks until told to stop.

    Args:
        settings: Of the application's class.
        app: The application; None: it has nothing but the task modules of the settings.
        stock: With arq's own engine instead of ours.
        burst: End when nothing is due.
        configure_log: Called when the task modules have been imported.
        announce: Called when the servers answer: a start that fails is told in one line.

    Raises:
        Exhausted: The process has been out of file descriptors or memory for too long.
        ServerUnreachable: Postgres or Redis did not answer in time.
        SettingsError: As `uow.main.worker_settings`; or several queues for the stock worker.
        WorkerDied: A service has ended by an error of its own.
    """
    from uow.main import arq_options, prepared
    from uow.services.readiness import wait_for_servers

    loop = _set_event_loop()
    process = prepared(settings, app=app, burst=burst)
    options = arq_options(process)
    configure_log()
    process.reception.open()
    try:
        loop.run_until_complete(wait_for_servers(settings, serves=settings.served_queues))
        announce()
        if stock:
            _refuse_several_queues(settings)
        with held_back():
            worker = (_stock_worker if stock else _task_worker)(process, options)
        _spare_the_collector()
        worker.run()
    finally:
        process.reception.close()
    process.death.tell()
    if worker.allow_pick_jobs and not worker.burst:
        raise WorkerDied(
            "the worker was cancelled, and nobody had told it to stop: has a task function "
            "cancelled asyncio tasks that are not its own?"
        )


def run_arq_settings(
    path: str,
    overrides: Mapping[str, Any],
    *,
    allow_pickle: bool,
    configure_log: Configure = _as_it_is,
) -> None:
    """Run the functions of anybody's arq settings class on our engine; Postgres is not needed.

    Args:
        path: ``module.Name``.
        overrides: Options that win over the class.
        allow_pickle: Whether jobs may be read with pickle.
        configure_log: Called when the module has been imported.

    Raises:
        Exhausted: As `run_tasks`.
        SettingsError: The class is not there, or says something that is refused.
    """
    _set_event_loop()
    found = find(path)
    configure_log()
    options = options_of(found, path, overrides, allow_pickle=allow_pickle)
    with held_back() if options.get("handle_signals", True) else given_back():
        worker = _arq_worker(path, options)
    death = _look_after(worker, path)
    deadline = Deadline(worker.grace, worker.wake)
    if worker.handles_signals:
        worker.loop.call_soon(deadline.watch)  # first of all, as soon as the loop runs
    _spare_the_collector()
    worker.run()
    deadline.release(death.exit_code)
    death.tell()


def create_worker(
    settings_cls: type | Mapping[str, Any], *, allow_pickle: bool = False, **kwargs: Any
) -> FastWorker:
    """What arq's `create_worker` does, with our engine.

    Args:
        settings_cls: A settings class, an instance of one, or a dict.
        allow_pickle: Whether jobs may be read with pickle.
        **kwargs: Options that win over it.

    Raises:
        SettingsError: It says something that is refused.
    """
    name = _name_of(settings_cls)
    return _arq_worker(name, options_of(settings_cls, name, kwargs, allow_pickle=allow_pickle))


def run_worker(
    settings_cls: type | Mapping[str, Any], *, allow_pickle: bool = False, **kwargs: Any
) -> FastWorker:
    """What arq's `run_worker` does, with our engine: `create_worker`, and run it until it ends.

    As under arq, and other than with the command, nothing ends the process when it is told to stop
    and a job does not.

    Raises:
        Exhausted: As `run_tasks`.
        SettingsError: As `create_worker`.
    """
    worker = create_worker(settings_cls, allow_pickle=allow_pickle, **kwargs)
    death = _look_after(worker, _name_of(settings_cls))
    worker.run()
    death.tell()
    return worker


def _arq_worker(name: str, options: Mapping[str, Any]) -> FastWorker:
    try:
        worker = FastWorker(**with_wrapped_functions(options))
    except SettingsError:
        raise
    except Exception as error:  # arq's own constructor looks at what it was given
        raise SettingsError(f"{name}: {described(error)}") from error
    exhaustion.make_room(worker.max_jobs, 0)
    return worker


def _name_of(settings: object) -> str:
    return getattr(settings, "__qualname__", type(settings).__qualname__)


def _look_after(worker: FastWorker, name: str) -> Death:
    """Have it stop when its process cannot go on, whether or not it heeds signals."""
    if worker.handles_signals:
        death = Death()
    else:
        _warn_of_signals(worker, name)
        death = Death(partial(_stop, worker))
    worker.on_death = death.die
    return death


def _warn_of_signals(worker: FastWorker, name: str) -> None:
    logger.warning(
        "%s: handle_signals = False, so unless the application heeds SIGTERM itself, that ends the "
        "process at once: jobs that run are not handed back but start again when their leases have "
        "run out (%g s), with one more try used up, and on_shutdown is not called. Leave it out, "
        "or set it to True", name, worker.lease_seconds,
    )  # fmt: skip


def _stop(worker: FastWorker) -> None:
    """As `stop_process`, where no signal would be heeded; from any thread."""
    worker.loop.call_soon_threadsafe(worker.handle_sig, signal.SIGUSR1)


def _stock_worker(process: "Process", options: Mapping[str, Any]) -> Worker:
    from uow.stock.worker import BurstWorker, StockWorker

    return BurstWorker(process, **options) if process.burst else StockWorker(**options)


def _task_worker(process: "Process", options: Mapping[str, Any]) -> Worker:
    from uow.fast.task_worker import TaskWorker
    from uow.main import engine_options

    return TaskWorker(process, **options, **engine_options(process))


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
