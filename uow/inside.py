"""A worker inside somebody else's process and event loop: `uow.running`.

    wait for the servers ─▶ start ─▶ (the caller's block) ─▶ drain within the grace ─▶ close

It is the worker of ``worker run`` without what belongs to a process of its own: no signal handlers,
no hard end, no limits of the system changed, no log configured. What ends that worker, or would end
its process, ends nothing else: the caller goes on and hears of it when the block is left.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

from uow import exhaustion
from uow.app import AppParts
from uow.client import TaskClient
from uow.errors import WorkerDied
from uow.fast.task_serving import TaskServing
from uow.fast.task_worker import TaskWorker
from uow.host import Process
from uow.main import arq_options, engine_options, prepared
from uow.process.signals import MARGIN_SECONDS
from uow.services.readiness import wait_for_servers
from uow.settings.environment import Settings
from uow.tasks.registry import Registry, default_registry
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

CANCELLED = (
    "the worker inside this process was cancelled: has a task function cancelled asyncio tasks "
    "that are not its own?"
)


@asynccontextmanager
async def running(
    settings: Settings | None = None,
    *,
    app: AppParts | None = None,
    registry: Registry = default_registry,
) -> "AsyncIterator[RunningWorker]":
    """Run a worker in this process and on this event loop, for as long as the block.

    When the block begins, it claims. Leaving the block, in whatever way, it claims no more, and
    what runs has `WORKER_SHUTDOWN_GRACE` seconds to end; the rest is handed back and costs no try.
    Being cancelled a second time, while it is left, hands back at once.

    A worker that cannot go on (a service of it has ended by an error) says so at level CRITICAL,
    drains and closes, and the block goes on without it; leaving the block raises then.

    Args:
        settings: Default: those of the application, or else of the environment.
        app: The application; None: it has nothing but the task modules of the settings.
        registry: The task functions that it runs.

    Raises:
        Exhausted: While the block ran: the process was out of file descriptors or memory for long.
        SchemaError: At the start: the migrations have not been run, or our role lacks a right.
        ServerUnreachable: At the start: Postgres or Redis did not answer in time.
        SettingsError: At the start: a setting is missing or does not fit, or a module is not there.
        WorkerDied: While the block ran, the worker has ended; with the cause.
    """
    application = app or AppParts()
    chosen = settings or application.load_settings()
    worker = RunningWorker(chosen, application, registry)
    await worker._start()  # noqa: SLF001 - a block begins and ends it, and nobody else
    try:
        yield worker
    finally:
        await worker._leave()  # noqa: SLF001
    worker._process.death.tell()  # noqa: SLF001


class RunningWorker:
    """The worker of a `running` block."""

    def __init__(self, settings: Settings, app: AppParts, registry: Registry) -> None:
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._leaving, self._hurried = asyncio.Event(), asyncio.Event()
        self._process = prepared(
            settings, registry, app, stopper=lambda: loop.call_soon_threadsafe(self._leaving.set)
        )
        self._serves: asyncio.Future[None] = loop.create_future()

    @property
    def client(self) -> TaskClient:
        """Its open client: enqueues in transactions of its own, and answers handles."""
        return self._process.services.client

    @property
    def cause(self) -> BaseException | None:
        """What it has ended by while the block goes on; None: it has not."""
        return self._process.death.cause

    async def unready(self) -> str | None:
        """Why it cannot do its work now, in one line, for a health route; None: it can."""
        return one_line(self.cause) if self.cause else await self._process.health.unready()

    async def _start(self) -> None:
        """Return when it claims; what was begun is closed if that fails."""
        await wait_for_servers(self._settings, serves=self._settings.served_queues)
        exhaustion.here.begin_again()
        # As in a process of its own, nothing of the caller's context is in that of a task.
        nothing = Context()
        options = {
            **arq_options(self._process), **engine_options(self._process), "handle_signals": False,
        }  # fmt: skip
        self._worker = _Inside(self._process, self._serves, **options)
        create = asyncio.get_running_loop().create_task
        main = self._worker.main_task = create(self._worker.main(), context=nothing)
        self._life = create(self._live(main), context=nothing)
        try:
            await asyncio.wait([main, self._serves], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._hurried.set()
            await self._leave()
            raise
        if main.done():
            await self._leave()
            await main  # raises

    async def _leave(self) -> None:
        """Drain and close; to its end, though we are cancelled meanwhile."""
        self._leaving.set()
        cancelled: asyncio.CancelledError | None = None
        while not self._life.done():
            try:
                await asyncio.wait([self._life])
            except asyncio.CancelledError as error:
                cancelled = error
                self._hurried.set()
        if cancelled is not None:
            raise cancelled

    async def _live(self, main: "asyncio.Task[None]") -> None:
        leaving = asyncio.ensure_future(self._leaving.wait())
        with contextlib.suppress(asyncio.CancelledError):  # by whom, but a task function?
            await asyncio.wait([main, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if self._serves.done():  # the error of a start is the caller's
            self._note_end(main)
        await self._end()

    def _note_end(self, main: "asyncio.Task[None]") -> None:
        if not self._leaving.is_set():
            error = main.exception() if main.done() and not main.cancelled() else None
            self._process.die(error or WorkerDied(CANCELLED))
        if self.cause is not None:
            logger.critical(
                "the worker inside this process has ended, and the process goes on without it: %s",
                one_line(self.cause),
            )

    async def _end(self) -> None:
        draining = asyncio.ensure_future(self._worker.drain())
        hurried = asyncio.ensure_future(self._hurried.wait())
        if self._process.departure is not None:
            self._process.departure.prepare()
        grace, began = self._settings.shutdown_grace, time.monotonic()
        await asyncio.wait([draining, hurried], timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        closing = asyncio.ensure_future(self._worker.close())
        left = max(began + grace - time.monotonic(), 0.0)  # for lifespans
        await asyncio.wait([closing, hurried], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        await asyncio.wait([closing], timeout=MARGIN_SECONDS)
        if not closing.done():
            logger.critical(
                "not done %g s after the grace: %d tasks ignore that they are cancelled; they go "
                "on without their leases, and run again elsewhere",
                MARGIN_SECONDS, len(self._worker.tasks),
            )  # fmt: skip
            closing.cancel()
            await asyncio.wait([closing], timeout=MARGIN_SECONDS)
        if closing.done() and not closing.cancelled() and (error := closing.exception()):
            logger.error("closing the worker inside this process failed", exc_info=error)


class _Inside(TaskWorker):
    """Says when it serves."""

    def __init__(self, process: Process, serves: "asyncio.Future[None]", **options: Any) -> None:
        super().__init__(process, **options)
        self._serves = serves

    async def begin_serving(self) -> TaskServing:
        serving = await super().begin_serving()
        if not self._serves.done():
            self._serves.set_result(None)
        return serving
