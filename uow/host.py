"""The process of a worker of tasks: what it was told, and what lives from its start to its stop."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from arq.connections import ArqRedis

from uow.attempt.callbacks import Callbacks
from uow.attempt.calling import Calling
from uow.attempt.notes import Notes
from uow.attempt.pauses import Pauses
from uow.attempt.running import process_name
from uow.attempt.runtime import Runtime
from uow.attempt.solo import Solo
from uow.broker import keys
from uow.broker.access import check_access
from uow.broker.hints import Hints
from uow.broker.redis import connect
from uow.client import TaskClient
from uow.db.code import Code
from uow.db.database import Database
from uow.events.processes import ServerAway, ServerBack, WorkerStarted, WorkerStopped
from uow.metrics.endpoint import routes_of
from uow.metrics.observation import Observation
from uow.process.death import Death
from uow.process.health import Health
from uow.process.reception import Ports, reception_of
from uow.process.signals import Deadline
from uow.schedules.cron import DeclaredSchedule
from uow.schedules.registrar import Registrar
from uow.service import Service
from uow.services.count_writer import CountWriter
from uow.services.departure import Departure
from uow.services.duties import duties_of
from uow.services.leader import Leader
from uow.services.lifespans import LEAVING_SECONDS, Lifespans
from uow.services.pause_watch import PauseWatch
from uow.services.readiness import (
    other_tables,
    unready,
    wait_for_identity,
    wait_for_redis,
    wait_for_tables,
)
from uow.services.redis_pulse import RedisPulse
from uow.services.relay import Listener, Relay
from uow.services.vitals import Body, Vitals, database_of, start_vitals
from uow.settings.environment import Settings
from uow.stock.body import start_body
from uow.tasks.context import ProcessContext
from uow.tasks.queue_owner import claim_or_refuse
from uow.tasks.registry import Registry
from uow.telemetry import subject
from uow.telemetry.logs import edit_logs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """What turns in a process between its start and its stop."""

    client: TaskClient
    runtime: Runtime
    vitals: Vitals
    relay: Relay
    leader: Leader


class Process:
    """Can be started again after a stop, or without one, and begins afresh then.

    Args:
        registry: The task modules have been loaded.
        burst: It ends when nothing is due; arq's own command does not tell.
        stopper: Tells the worker to stop, from any thread. None: it has the process for itself,
            heeds its signals and is stopped by one.

    Attributes:
        death: What it has died of since it was started last.
        events: Whom to tell what happens in it: those that the registry has, and who is added.
        departure: How it leaves; None: it has not been started.
        health: How it is.
        reception: Where it is asked for that; one inside another program is not.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        schedules: Sequence[DeclaredSchedule] = (),
        *,
        burst: bool = False,
        stopper: Callable[[], object] | None = None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.schedules = schedules
        self.burst = burst
        self.health = Health(settings.app, [*settings.served_queues], settings.lease_seconds)
        routes = {} if stopper else routes_of(settings)
        self.reception = reception_of(self.health, Ports.of(settings), routes)
        self.death = Death()
        self.events = registry.events.copy()
        self.departure: Departure | None = None
        self._stopper = stopper
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

    @property
    def _time_to_leave(self) -> float:
        """Seconds of the grace that running tasks get; the rest is for what is to be left then."""
        grace = self.settings.shutdown_grace
        return grace - min(LEAVING_SECONDS, grace / 4) if self.registry.lifespans else grace

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
        departure = self._begin(ctx["redis"])
        notes = Notes(self.events, self.registry.__contains__)
        observation = Observation(self._stack, self.events, notes)
        observation.expect(one.name for one in self.schedules)
        name = process_name() if body is None else body.name
        subject.worker_here.set(name)  # for all that begins here
        ctx["db"] = db = await self._open_database(name)
        counting = CountWriter(db, name, notes)
        self._stack.push_async_callback(counting.stop)
        client = await self._open_client(db, ctx["redis"])
        stack, settings = self._stack, self.settings
        await self._enter_lifespans(ctx, departure)
        if body is None:
            body = await start_body(stack, settings, name, client.redis, departure.patient)
        code = Code.of(one.name for one in self.registry)
        vitals = await start_vitals(stack, settings, body, self.die, self.events, code)
        departure.vitals = vitals
        duties = observation.duties(db, self.die)
        self._services = await self._start_services(client, vitals, duties)
        await counting.start()
        signs = observation.show(self.runtime, vitals.heart, vitals.running, db)
        vitals.presence.signs = signs
        self._serve(departure, self._services)
        self._tell_of(name)
        logger.info("ready: queue %s, %d tasks at once", settings.queue, settings.concurrency)

    def _begin(self, arqs: ArqRedis) -> Departure:
        """Begin afresh: nothing has died, nobody has told it to stop."""
        self.death = Death() if self._stopper is None else Death(self._stopper)
        self.events = self.registry.events.copy()
        self.departure = departure = Departure(
            self._time_to_leave, arqs, self.settings.shutdown_grace
        )
        self._stack.callback(departure.end)
        if self._stopper is None:
            self._watch_for_signals(departure)
            self.reception.open()
            self._stack.callback(self.reception.close)
        return departure

    def _serve(self, departure: Departure, services: Services) -> None:
        """Everything turns: say so to who asks, and to who is to stop it."""
        vitals, runtime = services.vitals, services.runtime
        departure.leader = services.leader
        self._stack.callback(self.health.ends)
        ask = partial(unready, vitals.presence, services.client.redis)
        self.health.serves(vitals.heart, ask, lambda: departure.has_begun)
        if departure.patient is not None:
            slots, threads = self.settings.concurrency, runtime.calling.threads
            departure.patient.occupied = lambda: (
                runtime.solo.is_reserved or runtime.pauses.holds_queue(self.settings.queue)
            )
            departure.patient.room = lambda: threads.room(slots, len(vitals.running))

    async def begin_job(self, ctx: ProcessContext) -> None:
        """What arq logs from now on is about this job; arq's hook at the start of each."""
        subject.here(ctx["job_id"], self.settings.queue)

    async def stop(self, ctx: ProcessContext) -> None:
        """Stop the services and close the connections; arq's shutdown hook."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    async def _enter_lifespans(self, ctx: ProcessContext, departure: Departure) -> None:
        left, settings = partial(departure.seconds_left, LEAVING_SECONDS), self.settings
        lifespans = Lifespans(self.registry.lifespans, settings.connect_timeout, left, self.die)
        self._stack.push_async_callback(lifespans.leave, ctx)
        await lifespans.enter(ctx)

    def _tell_of(self, name: str) -> None:
        """Tell that this process has started; and when it stops, of that."""
        events, settings = self.events, self.settings
        queues = tuple(settings.served_queues)
        events.emit(
            WorkerStarted(
                worker=name,
                queues=queues,
                concurrency=settings.concurrency,
                schedules=tuple(one.in_code for one in self.schedules),
            )
        )
        self._stack.callback(lambda: events.emit(WorkerStopped(worker=name)))

    def _watch_for_signals(self, departure: Departure) -> None:
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
        return await self._stack.enter_async_context(TaskClient(db, redis, settings, self.events))

    async def _start_services(
        self, client: TaskClient, vitals: Vitals, more_duties: Sequence[Service]
    ) -> Services:
        """Start what keeps turning."""
        db, redis, settings, die = client.db, client.redis, self.settings, self.die
        pauses = Pauses()
        watch = PauseWatch(db, pauses, die)
        await watch.run_once()  # before anything is claimed
        relay = Relay(
            db, redis, die, retention=settings.retention, events=self.events, pauses=pauses
        )
        duties = duties_of(
            client, settings, vitals.presence, wake_relay=relay.look_now, on_death=die,
            events=self.events,
        )  # fmt: skip
        leader = Leader(db, vitals.presence.worker, [*duties, *more_duties], die)
        registrar = Registrar(db, self.schedules, settings, die, stays=not self.burst)
        hints = Hints(redis)
        await hints.listen(keys.CANCEL_CHANNEL, vitals.running.interrupt)
        turning: list[Service] = [relay, watch, hints, registrar, leader]
        if self.events.wants(ServerAway) or self.events.wants(ServerBack):
            turning.append(RedisPulse(redis, self.events.emit, die))
        if not db.pooler:
            turning.append(Listener(db, relay.wake, watch.wake))
        for service in turning:
            self._stack.push_async_callback(service.stop)
            await service.start()
        return Services(client, self._runtime(client, vitals, pauses), vitals, relay, leader)

    async def _end_callbacks(self, callbacks: Callbacks) -> None:
        """Let end what was begun; who was told to stop has no time left for much."""
        await callbacks.end(in_haste=self.departure is not None and self.departure.has_begun)

    def _runtime(self, client: TaskClient, vitals: Vitals, pauses: Pauses) -> Runtime:
        callbacks = Callbacks()
        self._stack.push_async_callback(self._end_callbacks, callbacks)
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
            events=self.events,
            callbacks=callbacks,
            pauses=pauses,
        )
