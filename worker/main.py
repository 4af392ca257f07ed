"""The worker's composition root: `WorkerSettings` for arq, its startup and its shutdown.

``arq worker.main.WorkerSettings`` and ``worker run`` both start here. Importing this module reads
nothing; the settings are read and the task modules loaded when somebody asks for
`WorkerSettings`.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from functools import partial
from typing import Any

from arq.worker import Function, Worker, func, get_kwargs

from worker.broker import codec, keys
from worker.broker.hints import Hints
from worker.broker.redis import arq_settings, connect, refuse_cluster
from worker.clock import milliseconds, utcnow
from worker.db.database import Database
from worker.execution.attempt import run
from worker.execution.client import TaskClient
from worker.execution.context import ProcessContext
from worker.execution.definition import TaskFunction
from worker.execution.delivery import deserializer
from worker.execution.lease import Leases
from worker.execution.registry import Registry, default_registry
from worker.execution.runtime import Runtime
from worker.execution.strays import STRAYS
from worker.service import Service
from worker.services.readiness import refuse_unmigrated, wait_for_servers
from worker.services.relay import Listener, Relay
from worker.settings import Settings, load_settings
from worker.telemetry.logs import edit_arq_log

logger = logging.getLogger("worker.main")

OUT_OF_REACH = 2**31
"""arq's own limit of tries; ours decides."""

TIMEOUT_MARGIN = 60.0
"""Seconds that arq gives an attempt beyond our timeout, for start, commit and answer."""

POLL_DELAY = 0.05
"""Seconds between two looks of stock arq at its queue; arq's default of 0.5 is felt by people."""


HEALTH_SECONDS = 10
"""How often arq says in Redis that the worker lives, for ``arq --check``."""


def worker_settings(settings: Settings, registry: Registry = default_registry) -> type:
    """The settings class that arq runs; loads the task modules.

    Raises:
        SettingsError: A setting is missing or does not fit another, or a task module is not there.
    """
    settings.check_concurrency_fits_pool()
    registry.load(settings.task_modules, builtin=settings.builtin_tasks)
    attributes = {
        "functions": [*(_registered(function) for function in registry), *_registered_strays()],
        "queue_name": settings.queue,
        "redis_settings": arq_settings(settings.redis_url.get_secret_value()),
        "ctx": {"settings": settings, "registry": registry},
        "on_startup": startup,
        "on_shutdown": shutdown,
        "max_jobs": settings.concurrency,
        "max_tries": OUT_OF_REACH,
        "poll_delay": POLL_DELAY,
        "health_check_interval": HEALTH_SECONDS,
        "job_completion_wait": settings.shutdown_grace,
        "job_serializer": codec.to_bytes,
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
        SchemaError: The migrations have not been run.
        SettingsError: A setting does not fit, or Redis is a cluster.
    """
    settings: Settings = ctx["settings"]
    edit_arq_log()
    ctx["stack"] = stack = contextlib.AsyncExitStack()
    ctx["db"] = db = await stack.enter_async_context(
        Database.from_settings(settings.require_database())
    )
    await refuse_unmigrated(db)
    await refuse_cluster(ctx["redis"])
    # arq's own client has no socket timeout; what keeps leases must not hang with Redis.
    redis = connect(settings.redis_url.get_secret_value(), queue=settings.queue)
    stack.push_async_callback(redis.aclose)
    client = await stack.enter_async_context(TaskClient(db, redis, settings))
    leases = Leases(redis, settings.lease_seconds)
    relay = Relay(db, redis, on_death=_stop_process)
    ctx["client"], ctx["relay"] = client, relay
    ctx["runtime"] = Runtime(
        db=db,
        redis=redis,
        registry=ctx["registry"],
        leases=leases,
        settings=settings,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        flush_pushes=client.flush,
    )
    hints = Hints(redis)
    services: list[Service] = [leases, relay, hints]
    if not db.pooler:
        services.append(Listener(db, relay.wake))
    await relay.run_once()
    await hints.listen(keys.CANCEL_CHANNEL, leases.interrupt)
    for service in services:
        stack.push_async_callback(service.stop)
        await service.start()
    logger.info("ready: queue %s, %d tasks at once", settings.queue, settings.concurrency)


async def shutdown(ctx: ProcessContext) -> None:
    """Stop the services and close the connections; arq's shutdown hook."""
    stack: contextlib.AsyncExitStack | None = ctx.pop("stack", None)
    if stack is not None:
        await stack.aclose()


class BurstWorker(Worker):
    """Ends when neither store has a due task; stock arq would wait for those that are not."""

    async def _poll_iteration(self) -> None:
        pushed = await self.ctx["relay"].run_once()
        await super()._poll_iteration()
        if not pushed and not self.tasks and not await self._due_jobs():
            self.max_burst_jobs = 0  # which ends arq's loop

    async def _due_jobs(self) -> int:
        due = await self.pool.zcount(self.queue_name, "-inf", milliseconds(utcnow()))
        return int(due)


def run_stock(settings: Settings, *, burst: bool = False) -> None:
    """Run a stock arq worker in this process until it is told to stop.

    Raises:
        ServerUnreachable: Postgres or Redis did not answer in time.
        SettingsError: As `worker_settings`.
    """
    loop = _new_event_loop()
    asyncio.set_event_loop(loop)
    options: dict[str, Any] = dict(get_kwargs(worker_settings(settings)))
    loop.run_until_complete(wait_for_servers(settings))
    kind = BurstWorker if burst else Worker
    kind(**{**options, "burst": burst}).run()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


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


def _stop_process(_: BaseException) -> None:
    # A worker whose relay has died would look alive and lose nothing but time: better it restarts.
    os.kill(os.getpid(), signal.SIGTERM)
