"""What a task function gets as `ctx`: arq's dict, typed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Protocol, Self, TypedDict, TypeVar
from uuid import UUID

from arq.connections import ArqRedis
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from typing_extensions import ReadOnly

from uow.broker import codec
from uow.db.attempts import report_progress
from uow.db.begun_attempt import AttemptDatabase
from uow.errors import AttemptSuperseded, PayloadTooLarge
from uow.settings.environment import Settings
from uow.tasks.after_commit import AfterCommit, Callback
from uow.tasks.headers import SCHEDULE, no_headers

T = TypeVar("T")

MAX_PROGRESS_BYTES = 8192
"""Of one report, as JSON: each one replaces the row's, and everybody who looks reads it."""


class Sessions(Protocol):
    """What `ctx["db"]` is inside a task: the attempt's unit of work."""

    @property
    def get_session(self) -> Callable[[], AbstractAsyncContextManager[AsyncSession]]:
        """``async with ctx["db"].get_session() as session``.

        It does not flush before a query (``autoflush=False``): what was added is found after
        ``await session.flush()``. Its commit joins the attempt's transaction: SQLAlchemy's
        `after_commit` hooks fire then, which may still be rolled back; see `RunningTask.on_commit`.
        """


class SyncSessions(Protocol):
    """What `ctx["db"]` is inside a task that is a plain ``def``: the same unit of work."""

    @property
    def get_session(self) -> Callable[[], AbstractContextManager[Session]]:
        """``with ctx["db"].get_session() as session``; as that of `Sessions`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """Which task it is that runs.

    Attributes:
        id: The row's id; of a rowless task, None.
        attempt: Which run this is, from 1 on.
        tries: Failures of user code before this run.
        idempotency_key: The same in every attempt of this task: hand it to whatever has effects
            outside Postgres (a payment, a mail), which may happen more than once.
        queue: Its queue.
        headers: What travels with it; what it enqueues has the same, unless told otherwise.
        tick: The tick of the schedule that asked for it; None: no schedule did.
    """

    id: UUID | None
    name: str
    attempt: int
    tries: int
    user_id: str | None
    idempotency_key: str
    queue: str
    headers: Mapping[str, str] = field(default_factory=no_headers)
    tick: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask(TaskInfo):
    """The task that is running: `ctx["task"]`.

    Attributes:
        after_commit: What `on_commit` was given.
    """

    db: AttemptDatabase = field(repr=False, compare=False)
    after_commit: AfterCommit = field(default_factory=AfterCommit, repr=False, compare=False)

    @property
    def schedule(self) -> str | None:
        """The schedule that asked for it; None: no schedule did."""
        return None if self.tick is None else self.headers.get(SCHEDULE)

    def on_commit(self, callback: Callback) -> None:
        """Call `callback` after this attempt's COMMIT, and not at all if there is none.

        That is what an `after_commit` hook of SQLAlchemy's cannot do in a task: a block that joins
        the attempt's transaction looks like a commit to it. Callbacks are called in the order in
        which they were given, without arguments, in the attempt's context; what is awaitable is
        awaited. All of them may take 30 s, in which they keep no slot and nobody waiting. An error
        is logged and changes nothing; a process that dies between the COMMIT and them never calls
        them: what must happen is a task of its own.

        - Given in a block that is undone, it is not called. (A savepoint of yours is no block.)
        - ``atomic=False``: given in a block, it is called as soon as that block has committed; else
          when the task has succeeded, as in a rowless task.
        - The attempt has ended then: there is no `ctx["db"]` any more.

        Raises:
            AttemptOver: The attempt has ended.
            TypeError: It cannot be called, as a coroutine cannot: give the function.
        """
        if not callable(callback):
            raise TypeError(f"on_commit: {callback!r} cannot be called: give it a function")
        self.after_commit.add(callback)

    async def report(self, **progress: object) -> None:
        """Show progress on the task, at once, in a transaction of its own.

        For a rowless task there is nothing to show it on.

        Raises:
            PayloadTooLarge: It is more than 8 KiB of JSON.
            InvalidArguments: It is not JSON.
            AttemptSuperseded: The task was cancelled or taken over meanwhile; let it leave the
                function.
        """
        written = codec.to_bytes(progress)
        if len(written) > MAX_PROGRESS_BYTES:
            raise PayloadTooLarge(
                f"{self.name}: progress of {len(written):,} bytes of JSON, but at most "
                f"{MAX_PROGRESS_BYTES:,} are kept: report how far it is, and return the rest"
            )
        if self.id is None:
            return
        if not await report_progress(self.db, self.id, self.attempt, written.decode()):
            raise AttemptSuperseded(f"{self.name} {self.id} was settled or taken over meanwhile")


class Loop(Protocol):
    """The event loop, as a thread that runs a task function knows it."""

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run `work` there, and wait for it."""

    def off(self, callback: Callback, /) -> Callback:
        """What the loop may call in place of `callback`: it is called in a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRunningTask(TaskInfo):
    """The task that is running, for a ``def``: `ctx["task"]`."""

    loop: Loop = field(repr=False, compare=False)
    running: RunningTask = field(repr=False, compare=False)

    @classmethod
    def of(cls, running: RunningTask, loop: Loop) -> Self:
        """The same task, for a thread."""
        info = {one.name: getattr(running, one.name) for one in fields(TaskInfo)}
        return cls(**info, running=running, loop=loop)

    def on_commit(self, callback: Callback) -> None:
        """As `RunningTask.on_commit`; a callback that is a plain function is called in a thread.

        Raises:
            AttemptOver: The attempt has ended.
            TypeError: It cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"on_commit: {callback!r} cannot be called: give it a function")
        self.running.after_commit.add(self.loop.off(callback))

    def report(self, **progress: object) -> None:
        """As `RunningTask.report`.

        Raises:
            PayloadTooLarge: It is more than 8 KiB of JSON.
            InvalidArguments: It is not JSON.
            AttemptSuperseded: The task was cancelled or taken over meanwhile; let it leave the
                function.
        """
        self.loop.run(lambda: self.running.report(**progress))


class BaseContext(TypedDict):
    """What is in the context of every attempt, wherever its function runs."""

    task: ReadOnly[TaskInfo]
    job_id: str
    job_try: int
    enqueue_time: datetime
    score: int


class TaskContext(BaseContext):
    """The context of one attempt of an ``async def``.

    More keys may be in it: what your startup hook puts there. Inherit from this class to read them
    in a typed way.
    """

    task: RunningTask
    db: Sessions
    redis: ArqRedis
    settings: Settings


class SyncTaskContext(BaseContext):
    """The context of one attempt of a ``def``, which runs in a thread.

    Without `redis`, whose client belongs to the event loop.
    """

    task: SyncRunningTask
    db: SyncSessions
    settings: Settings


class CpuContext(BaseContext):
    """The context of one attempt of a ``def`` that is ``process=True``: it has no session."""

    task: TaskInfo


ProcessContext = dict[Any, Any]
"""arq's own dict, as its hooks get it."""

Lifespan = Callable[[ProcessContext], AsyncIterator[Mapping[str, object] | None]]
"""An ``async def`` with one ``yield``: what it yields is in the ctx of each attempt."""

CallNext = Callable[[], Awaitable[Any]]
"""Calls what is inside a middleware, once; it is a middleware's second parameter."""

Middleware = Callable[[Any, CallNext], Awaitable[Any]]
"""An ``async def f(ctx, call_next)`` around the function of each attempt."""
