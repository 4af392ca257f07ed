"""The worker's composition root: `WorkerSettings` for arq, its startup and its shutdown.

``arq uow.main.WorkerSettings`` and ``worker run`` both start here. Importing this module reads
nothing; the settings are read and the task modules loaded when somebody asks for
`WorkerSettings`.
"""

import asyncio
import contextlib
import logging
from dataclasses import replace
from functools import partial
from typing import Any

from arq.connections import ArqRedis
from arq.worker import Function, func

from uow import exhaustion
from uow.attempt.attempt import run
from uow.attempt.delivery import deserializer
from uow.attempt.running import Leases, Running, process_name
from uow.attempt.runtime import Runtime
from uow.attempt.solo import LONGEST_PATIENCE
from uow.attempt.strays import STRAYS
from uow.broker import codec, keys
from uow.broker.access import check_access
from uow.broker.hints import Hints
from uow.broker.patient import PatientRedis
from uow.broker.redis import apart, arq_settings, connect, have_connection, refuse_cluster
from uow.client import TaskClient
from uow.db.database import Database
from uow.db.transitions import FENCE_SECONDS
from uow.errors import SettingsError
from uow.fast.task_worker import TaskWorker
from uow.process.heart import Heart
from uow.process.signals import Deadline, stop_process
from uow.schedules.cron import DeclaredSchedule, schedules_of
from uow.schedules.registrar import Registrar
from uow.schedules.retirement import Retirement
from uow.schedules.scheduler import Scheduler
from uow.services.leader import Leader
from uow.services.presence import Presence
from uow.services.pruner import Pruner
from uow.services.queue_ownership import QueueOwnership
from uow.services.readiness import other_tables, wait_for_tables
from uow.services.relay import Listener, Relay
from uow.services.rescuer import Rescuer
from uow.services.vitals import Vitals
from uow.settings.environment import Settings, load_settings
from uow.stock.leases import StockLeases
from uow.tasks.context import ProcessContext
from uow.tasks.function import DEFAULT_TIMEOUT, TaskFunction
from uow.tasks.queue_owner import claim_or_refuse, identify
from uow.tasks.registry import Registry, default_registry
from uow.telemetry.logs import edit_logs

logger = logging.getLogger(__name__)

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

IDLE_SECONDS = DEFAULT_TIMEOUT + FENCE_SECONDS
"""After so long Postgres ends a transaction of this process that stands idle, and with it the locks
of a process that has stalled: an ordinary attempt's time. Another one's BEGIN says its own."""

HEALTH_SECONDS = 10
"""How often arq says in Redis that the worker lives, for ``arq --check``."""


def worker_settings(settings: Settings, registry: Registry = default_registry) -> type:
    """The settings class that arq runs; loads the task modules.

    Raises:
        SettingsError: A setting is missing or does not fit another, or a task module is not there.
    """
    settings.check_concurrency_fits_pool()
    exhaustion.make_room(settings.concurrency, settings.require_database().pool_size)
    registry.load(settings.task_modules, builtin=settings.builtin_tasks)
    edit_logs()  # before arq's first line
    url = settings.redis_url.get_secret_value()
    attributes = {
        "functions": [*(_registered(function) for function in registry), *_registered_strays()],
        "queue_name": settings.queue,
        "redis_pool": connect(url, queue=settings.queue, kind=PatientRedis),
        "redis_settings": arq_settings(url),  # for `arq --check`
        "ctx": {"settings": settings, "registry": registry},
        "on_startup": startup,
        "on_shutdown": shutdown,
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
    return type("WorkerSettings", (), attributes)


def __getattr__(name: str) -> type:
    if name == "WorkerSettings":
        return worker_settings(load_settings())
    raise AttributeError(name)


async def startup(ctx: ProcessContext) -> None:
    """Create the engine and everything else that lives with the process; arq's startup hook.

    Raises:
        SchemaError: The migrations have not been run, or our role lacks a right.
        ServerUnreachable: Postgres did not answer in time.
        SettingsError: A setting does not fit, Redis is a cluster or refuses what we need, or a
            queue is another database's.
    """
    await shutdown(ctx)  # a worker may be run again without a close
    settings: Settings = ctx["settings"]
    edit_logs()
    ctx["stack"] = stack = contextlib.AsyncExitStack()
    deadline = Deadline(settings.shutdown_grace, partial(_prepare_to_leave, ctx))
    stack.callback(lambda: deadline.release(1 if "died_of" in ctx else 0))
    ctx["loop"] = asyncio.get_running_loop()
    engine: TaskWorker | None = ctx.get("engine")
    worker = process_name() if engine is None else engine.name
    deadline.watch()
    ctx["db"] = db = await stack.enter_async_context(
        Database.from_settings(
            settings.require_database(), fence_seconds=IDLE_SECONDS, process=worker
        )
    )
    await wait_for_tables(db, settings.connect_timeout)
    if others := await other_tables(db):
        logger.warning("%s", others)
    await refuse_cluster(ctx["redis"])
    if lacks := await check_access(ctx["redis"], settings.served_queues):
        logger.warning("%s", lacks)
    # Not arq's client, which waits for ever: what keeps leases must know when Redis is away.
    redis = connect(settings.redis_url.get_secret_value(), queue=settings.queue)
    stack.push_async_callback(redis.aclose)
    await claim_or_refuse(redis, settings.served_queues, await identify(db, settings.app))
    ctx["client"] = await stack.enter_async_context(TaskClient(db, redis, settings))
    await _start_services(ctx, stack, db, redis, worker)
    logger.info("ready: queue %s, %d tasks at once", settings.queue, settings.concurrency)


async def _start_services(
    ctx: ProcessContext,
    stack: contextlib.AsyncExitStack,
    db: Database,
    redis: ArqRedis,
    worker: str,
) -> None:
    """Start what keeps turning in this process."""
    settings: Settings = ctx["settings"]
    ctx["die"] = die = partial(stop_process, ctx)
    ctx["vitals"] = vitals = await _start_vitals(ctx, stack, redis, worker)
    ctx["relay"] = relay = Relay(db, redis, die, retention=settings.retention)
    rescuer = Rescuer(db, redis, settings, vitals.presence, wake_relay=relay.look_now, on_death=die)
    duties = [
        rescuer,
        Scheduler(db, wake_relay=relay.look_now, on_death=die),
        Pruner(db, redis, die),
        Retirement(db, settings.retention, die),
        QueueOwnership(db, redis, settings.app, die),
    ]
    ctx["leader"] = leader = Leader(db, worker, duties, die)
    registrar = Registrar(
        db, _schedules(ctx["registry"], settings), settings, die, stays=not _is_burst(ctx)
    )
    hints = Hints(redis)
    ctx["runtime"] = Runtime(
        db=db,
        redis=redis,
        registry=ctx["registry"],
        leases=vitals.leases,
        settings=settings,
        worker=worker,
        flush_pushes=ctx["client"].flush,
        suspend=vitals.suspend,
    )
    if (patient := _patient(ctx["redis"])) is not None:
        solo = ctx["runtime"].solo
        patient.occupied = lambda: solo.is_reserved
    await hints.listen(keys.CANCEL_CHANNEL, vitals.running.interrupt)
    services = [relay, hints, registrar, leader]
    for service in services if db.pooler else [*services, Listener(db, relay.wake)]:
        stack.push_async_callback(service.stop)
        await service.start()


async def _start_vitals(
    ctx: ProcessContext, stack: contextlib.AsyncExitStack, redis: ArqRedis, worker: str
) -> Vitals:
    settings: Settings = ctx["settings"]
    engine: TaskWorker | None = ctx.get("engine")
    leases: Leases
    if engine is not None:
        heart, running, leases = engine.heart, engine.running, engine.leases
    else:
        running = Running()
        heart = Heart(settings.stall_limit, running.describe)
        stack.push_async_callback(heart.end)
        await heart.begin()
        beats = apart(redis)
        stack.push_async_callback(lambda: heart.run(beats.aclose()))
        await heart.run(have_connection(beats))
        leases = StockLeases(running, redis, beats, settings.queue, settings.lease_seconds)
        stack.push_async_callback(await heart.keep(leases))
    heart.on_death = ctx["die"]
    part = replace(settings.require_database(), pool_size=1)
    db = Database.from_settings(part, fence_seconds=IDLE_SECONDS, process=worker)
    stack.push_async_callback(lambda: heart.run(db.dispose()))
    presence = Presence(
        db, worker, settings,
        running=running.task_ids, claims=engine or _patient(ctx["redis"]), on_death=ctx["die"],
    )  # fmt: skip
    stack.push_async_callback(await heart.keep(presence))
    return Vitals(heart, running, leases, presence)


async def shutdown(ctx: ProcessContext) -> None:
    """Stop the services and close the connections; arq's shutdown hook."""
    stack: contextlib.AsyncExitStack | None = ctx.pop("stack", None)
    if stack is not None:
        await stack.aclose()


def _schedules(registry: Registry, settings: Settings) -> list[DeclaredSchedule]:
    if not settings.builtin_tasks:
        if settings.prune_schedule or settings.stale_users_schedule:
            raise SettingsError(
                "WORKER_BUILTIN_TASKS=false, so their schedules have nothing to run"
            )
        return schedules_of(registry)
    from worker.tasks.schedules import builtin_schedules  # needs the extra `run`

    return [*schedules_of(registry), *builtin_schedules(settings)]


def _is_burst(ctx: ProcessContext) -> bool:
    """Whether this process ends when nothing is due; arq's own command does not tell."""
    engine: TaskWorker | None = ctx.get("engine")
    return "burst" in ctx if engine is None else engine.burst


def _registered(function: TaskFunction[Any, Any]) -> Function:
    called: Any = partial(run, function.name)
    return func(
        called,
        name=function.name,
        timeout=function.timeout + TIMEOUT_MARGIN,
        # The row keeps the result; a stock client's is stored when the task is settled.
        keep_result=0 if function.durable else None,
        max_tries=OUT_OF_REACH,
    )


def _registered_strays() -> list[Function]:
    return [
        func(function, name=name, keep_result=0, max_tries=OUT_OF_REACH)
        for name, function in STRAYS.items()
    ]


def _patient(redis: ArqRedis) -> PatientRedis | None:
    """arq's connection, unless the process was given one of another kind."""
    return redis if isinstance(redis, PatientRedis) else None


def _prepare_to_leave(ctx: ProcessContext) -> None:
    if (patient := _patient(ctx["redis"])) is not None:
        patient.stopping = True
    loop: asyncio.AbstractEventLoop = ctx["loop"]
    vitals: Vitals | None = ctx.get("vitals")
    if vitals is None:  # it is only just starting
        return
    vitals.prepare_to_leave()
    grace = ctx["settings"].shutdown_grace
    loop.call_soon_threadsafe(loop.call_later, grace, vitals.running.interrupt_all)
    loop.call_soon_threadsafe(_resign, ctx)


def _resign(ctx: ProcessContext) -> None:
    # Somebody leads who stays; nobody fires ticks while nobody is there to run them.
    leader: Leader | None = ctx.get("leader")
    if leader is not None:
        ctx["resigns"] = asyncio.ensure_future(leader.stop())
