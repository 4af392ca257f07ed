"""The worker's composition root: `WorkerSettings` for arq, bound to a `Process`.

``arq uow.main.WorkerSettings`` and ``worker run`` both start here. Importing this module reads
nothing; the settings are read and the task modules loaded when somebody asks for
`WorkerSettings`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from arq.worker import Function, func

from uow import exhaustion
from uow.app import AppParts, look_for_app
from uow.attempt.delivery import deserializer
from uow.attempt.run import run
from uow.attempt.solo import LONGEST_PATIENCE
from uow.attempt.strays import STRAYS
from uow.broker import codec
from uow.broker.patient import PatientRedis
from uow.broker.redis import arq_settings, connect
from uow.host import Process
from uow.schedules.cron import schedules_of
from uow.settings.environment import Settings
from uow.tasks.function import TaskFunction
from uow.tasks.registry import Registry, default_registry
from uow.telemetry.logs import edit_logs

OUT_OF_REACH = 2**31
"""arq's own limit of tries; ours decides."""

TIMEOUT_MARGIN = 2 * LONGEST_PATIENCE
"""Seconds that arq gives an attempt beyond our timeout: for a suspect that waits to be alone, for
start, commit and answer. Its lock of that length is cut to our lease at once."""

POLL_DELAY = 0.05
"""Seconds between two looks of stock arq at its queue; arq's default of 0.5 is felt by people."""

HAND_BACK_MARGIN = 1.0
"""Seconds that arq waits beyond the grace, in which our attempts hand their jobs back. arq's own
cancellation ends its process with an error if it meets a job that is just being finished."""

HEALTH_SECONDS = 10
"""How often arq says in Redis that the worker lives, for ``arq --check``."""


def worker_settings(
    settings: Settings, registry: Registry = default_registry, app: AppParts | None = None
) -> type:
    """The settings class that arq runs; loads the task modules.

    Raises:
        SettingsError: As `prepared`.
    """
    return type("WorkerSettings", (), arq_options(prepared(settings, registry, app)))


def prepared(
    settings: Settings,
    registry: Registry = default_registry,
    app: AppParts | None = None,
    *,
    burst: bool = False,
    stopper: Callable[[], object] | None = None,
) -> Process:
    """A process that can be started; loads the task modules.

    Args:
        burst: It is to end when nothing is due.
        stopper: As `Process` has it: a process that is somebody else's is left as it is.

    Raises:
        SettingsError: A setting is missing or does not fit another, or a task module is not there.
    """
    app = app or AppParts()
    settings.check_concurrency_fits_pool()
    if stopper is None:
        exhaustion.make_room(settings.concurrency, settings.require_database().pool_size)
    registry.load(settings.task_modules, of_app=app.modules)
    edit_logs()  # before arq's first line
    schedules = [*schedules_of(registry), *app.schedules(settings)]
    return Process(settings, registry, schedules, burst=burst, stopper=stopper)


def arq_options(process: Process) -> dict[str, Any]:
    """What an arq worker is to be told so that it runs the tasks of `process`."""
    settings, registry = process.settings, process.registry
    url = settings.redis_url.get_secret_value()
    functions = [_registered(process, function) for function in registry]
    return {
        "functions": [*functions, *_registered_strays(process)],
        "queue_name": settings.queue,
        "redis_pool": connect(url, queue=settings.queue, kind=PatientRedis),
        "redis_settings": arq_settings(url),  # for `arq --check`
        "ctx": {"settings": settings},
        "on_startup": process.start,
        "on_shutdown": process.stop,
        "on_job_start": process.begin_job,
        "burst": process.burst,
        "max_jobs": settings.concurrency,
        "max_tries": OUT_OF_REACH,
        "poll_delay": POLL_DELAY,
        "health_check_interval": HEALTH_SECONDS,
        "job_completion_wait": settings.shutdown_grace + HAND_BACK_MARGIN,
        "job_serializer": codec.for_redis,
        "job_deserializer": deserializer(registry.__contains__),
        "allow_abort_jobs": False,
        "log_results": False,
    }


def engine_options(process: Process) -> dict[str, Any]:
    """What our own engine is to be told beyond that."""
    settings = process.settings
    return {
        "queues": settings.served_queues,
        "lease_seconds": settings.lease_seconds,
        "stall_limit": settings.stall_limit,
    }


def __getattr__(name: str) -> type:
    if name == "WorkerSettings":
        found = look_for_app(None)
        found.tell()
        return worker_settings(found.app.load_settings(), app=found.app)
    raise AttributeError(name)


def _registered(process: Process, function: TaskFunction[Any, Any]) -> Function:
    called: Any = partial(run, process, function.name)
    return func(
        called,
        name=function.name,
        timeout=function.timeout + TIMEOUT_MARGIN,
        # The row keeps the result; a stock client's is stored when the task is settled.
        keep_result=0 if function.durable else None,
        max_tries=OUT_OF_REACH,
    )


def _registered_strays(process: Process) -> list[Function]:
    return [
        _registered_stray(name, partial(function, process)) for name, function in STRAYS.items()
    ]


def _registered_stray(name: str, called: Any) -> Function:
    return func(called, name=name, keep_result=0, max_tries=OUT_OF_REACH)
