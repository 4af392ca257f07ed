"""The process of a worker of tasks: what it was told, and what lives from its start to its stop."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arq.connections import ArqRedis

from uow.attempt.calling import Calling
from uow.attempt.running import process_name
from uow.attempt.runtime import Runtime
from uow.attempt.solo import Solo
from uow.broker import keys
from uow.broker.access import check_access
from uow.broker.hints import Hints
from uow.broker.patient import PatientRedis
from uow.broker.redis import connect
from uow.client import TaskClient
from uow.db.database import Database
from uow.process.death import Death
from uow.process.signals import Deadline
from uow.schedules.cron import DeclaredSchedule
from uow.schedules.registrar import Registrar
from uow.schedules.retirement import Retirement
from uow.schedules.scheduler import Scheduler
from uow.service import Service
from uow.services.leader import Leader
from uow.services.pruner import Pruner
from uow.services.queue_ownership import QueueOwnership
from uow.services.readiness import (
    other_tables,
    wait_for_identity,
    wait_for_redis,
    wait_for_tables,
)
from uow.services.relay import Listener, Relay
from uow.services.rescuer import Rescuer
from uow.services.vitals import Body, Vitals, database_of, start_vitals
from uow.settings.environment import Settings
from uow.stock.body import start_body
from uow.tasks.context import ProcessContext
from uow.tasks.queue_owner import claim_or_refuse
from uow.tasks.registry import Registry
from uow.telemetry.logs import edit_logs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """What turns in a process between its start and its stop."""

    runtime: Runtime
    vitals: Vitals
    relay: Relay
    leader: Leader


class Process:
    """Can be started again after a stop, or without one, and begins afresh then.

    Args:
        registry: The task modules have been loaded.
        burst: It ends when nothing is due; arq's own command does not tell.

    Attributes:
        death: What it has died of since it was started last.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        schedules: Sequence[DeclaredSchedule] = (),
        *,
        burst: bool = False,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.schedules = schedules
        self.burst = burst
        self.death = Death()
        self._services: Services | None = None
        self._stack = contextlib.AsyncExitStack()

    @property
    def services(self) -> Services:
        """Those of the last start."""
        assert self._services is not None  # noqa: S101 - nothing runs before the start
        return self._services

    @property
    def runtime(self) -> Runtime:
        """What serves every attempt."""
        return self.services.runtime

    def die(self, cause: BaseException) -> None:
        """Stop because of `cause`; from any thread."""
        self.death.die(cause)

    async def push_due(self) -> int:
        """Push what is due and not in Redis; returns how much."""
        return await self.services.relay.run_once()

    async def start(self, ctx: ProcessContext, body: Body | None = None, /) -> None:
        """Create the engine, in ``ctx["db"]``, and what lives with it; arq's startup hook.

        Args:
            body: What the process stands on; None: the engine is arq's, which has nothing to lend.

        Raises:
            SchemaError: The migrations have not been run, or our role lacks a right.
            ServerUnreachable: Postgres or Redis did not answer in time.
            SettingsError: A setting does not fit, Redis is a cluster or refuses what we need, or a
                queue is another database's.
        """
        await self.stop(ctx)  # a worker may be run again without a close
        edit_logs()
        self.death = Death()
        departure = Departure(self.settings.shutdown_grace, ctx["redis"])
        self._watch_for_signals(departure)
        name = process_name() if body is None else body.name
        ctx["db"] = db = await self._open_database(name)
        client = await self._open_client(db, ctx["redis"])
        stack, settings = self._stack, self.settings
        if body is None:
            body = await start_body(stack, settings, name, client.redis, departure.patient)
        departure.vitals = vitals = await start_vitals(stack, settings, body, self.die)
        self._services = services = await self._start_services(client, vitals)
        departure.leader = services.leader
        if departure.patient is not None:
            solo, threads = services.runtime.solo, services.runtime.calling.threads
            departure.patient.occupied = lambda: solo.is_reserved
            departure.patient.room = lambda: threads.room(settings.concurrency, len(body.running))
        logger.info("ready: queue %s, %d tasks at once", settings.queue, settings.concurrency)

    async def stop(self, ctx: ProcessContext) -> None:
        """Stop the services and close the connections; arq's shutdown hook."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    def _watch_for_signals(self, departure: "Departure") -> None:
        deadline = Deadline(self.settings.shutdown_grace, departure.prepare)
        self._stack.callback(lambda: deadline.release(self.death.exit_code))
        deadline.watch()

    async def _open_database(self, name: str) -> Database:
        db = await self._stack.enter_async_context(database_of(self.settings, name))
        await wait_for_tables(db, self.settings.connect_timeout)
        if others := await other_tables(db):
            logger.warning("%s", others)
        return db

    async def _open_client(self, db: Database, arqs: ArqRedis) -> TaskClient:
        settings = self.settings
        await wait_for_redis(arqs, settings)
        if lacks := await check_access(arqs, settings.served_queues):
            logger.warning("%s", lacks)
        # Not arq's client, which waits for ever: what keeps leases must know when Redis is away.
        redis = connect(settings.redis_url.get_secret_value(), queue=settings.queue)
        self._stack.push_async_callback(redis.aclose)
        us = await wait_for_identity(db, settings)
        await claim_or_refuse(redis, settings.served_queues, us)
        return await self._stack.enter_async_context(TaskClient(db, redis, settings))

    async def _start_services(self, client: TaskClient, vitals: Vitals) -> Services:
        """Start what keeps turning."""
        db, redis, settings, die = client.db, client.redis, self.settings, self.die
        relay = Relay(db, redis, die, retention=settings.retention)
        leader = self._leader(client, vitals, relay.look_now)
        registrar = Registrar(db, self.schedules, settings, die, stays=not self.burst)
        hints = Hints(redis)
        await hints.listen(keys.CANCEL_CHANNEL, vitals.running.interrupt)
        turning: list[Service] = [relay, hints, registrar, leader]
        for service in turning if db.pooler else [*turning, Listener(db, relay.wake)]:
            self._stack.push_async_callback(service.stop)
            await service.start()
        return Services(self._runtime(client, vitals), vitals, relay, leader)

    def _leader(self, client: TaskClient, vitals: Vitals, wake_relay: Callable[[], None]) -> Leader:
        db, redis, settings, die = client.db, client.redis, self.settings, self.die
        presence = vitals.presence
        duties: list[Service] = [
            Rescuer(db, redis, settings, presence, wake_relay=wake_relay, on_death=die),
            Scheduler(db, wake_relay=wake_relay, on_death=die),
            Pruner(db, redis, die),
            Retirement(db, settings.retention, die),
            QueueOwnership(db, redis, settings.app, die),
        ]
        return Leader(db, presence.worker, duties, die)

    def _runtime(self, client: TaskClient, vitals: Vitals) -> Runtime:
        solo = Solo()
        calling = Calling.of(self.settings, solo)
        self._stack.callback(calling.close)
        return Runtime(
            solo=solo,
            calling=calling,
            db=client.db,
            redis=client.redis,
            registry=self.registry,
            leases=vitals.leases,
            settings=self.settings,
            worker=vitals.presence.worker,
            flush_pushes=client.flush,
            suspend=vitals.suspend,
        )


class Departure:
    """How a process leaves that is told to: nothing is waited for, and nobody is left waiting.

    Args:
        grace: Seconds that running tasks get.
        redis: arq's connection.

    Attributes:
        patient: The same, unless the process was given one of another kind.
        vitals: What says that it lives; None: nothing has yet.
        leader: Of this process; None: it has none yet.
    """

    vitals: Vitals | None = None
    leader: Leader | None = None

    def __init__(self, grace: float, redis: ArqRedis) -> None:
        self.patient = redis if isinstance(redis, PatientRedis) else None
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._resigns: asyncio.Future[None] | None = None

    def prepare(self) -> None:
        """Prepare to leave; between two bytecodes of the main thread."""
        if self.patient is not None:
            self.patient.stopping = True
        if self.vitals is None:  # it is only just starting
            return
        call_soon = self._loop.call_soon_threadsafe
        self.vitals.prepare_to_leave()
        call_soon(self._loop.call_later, self._grace, self.vitals.running.interrupt_all)
        if self.leader is not None:
            call_soon(self._resign, self.leader)

    def _resign(self, leader: Leader) -> None:
        # Somebody leads who stays; nobody fires ticks while nobody is there to run them.
        self._resigns = asyncio.ensure_future(leader.stop())
