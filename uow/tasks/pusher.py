"""Pushes jobs to Redis after the commit of their rows, and only then.

A push is an optimisation: the relay looks at every row a second after it was announced and pushes
what is missing. So a push that fails is dropped, never awaited by the caller and never repeated.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from uow.broker import scripts
from uow.broker.redis import AWAY
from uow.broker.refusals import EntriesRefused
from uow.broker.scripts import Call, Job
from uow.failpoints import reach
from uow.service import Service

logger = logging.getLogger(__name__)

BUFFER_LIMIT = 100_000
"""Jobs that wait for a slow Redis at most; what comes on top is left to the relay."""

GATHER_SECONDS = 0.002
"""Between two pushes: a push of one job costs as much as that of ten."""

_PENDING = "worker.pending_pushes"


class Pusher(Service):
    """Collects announced jobs and pushes them in batches, in the background.

    Args:
        look_at: Is told, after the pushes, which queues they went to.
    """

    def __init__(
        self, call: Call, look_at: Callable[[Collection[str]], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(interval=60.0)
        self._call = call
        self._look_at = look_at
        self._queues: set[str] = set()
        self._buffer: list[Job] = []
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._pushing = asyncio.Lock()
        self._away = False

    async def start(self) -> None:
        """Start the loop, unless it runs."""
        self._home = threading.get_ident(), asyncio.get_running_loop()
        await super().start()

    def announce(self, jobs: Sequence[Job]) -> None:
        """Push `jobs` soon; their rows are committed, in whichever thread."""
        if self._home is None or self._home[0] == threading.get_ident():
            self._take(jobs)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: the relay pushes
            self._home[1].call_soon_threadsafe(self._take, jobs)

    def _take(self, jobs: Sequence[Job]) -> None:
        if len(self._buffer) < BUFFER_LIMIT:
            self._buffer.extend(jobs)
            self.wake()

    async def run_once(self) -> None:
        """Push what was announced, then let others gather: who enqueues one task enqueues more."""
        await self.flush()
        queues, self._queues = self._queues, set()
        if queues and self._look_at is not None:
            await self._look_at(queues)
        await asyncio.sleep(GATHER_SECONDS)

    async def flush(self) -> None:
        """Return when everything announced so far was pushed or left to the relay."""
        async with self._pushing:
            while self._buffer:
                batch, self._buffer = self._buffer, []
                try:
                    await scripts.push(self._call, batch)
                    self._queues |= {job.queue for job in batch}
                    self._away = False
                except EntriesRefused as error:
                    logger.warning("Redis refuses jobs for good: %s", error)
                except AWAY as error:
                    if not self._away:  # once per outage, however many are enqueued meanwhile
                        name = type(error).__name__
                        logger.warning("Redis takes no jobs (%s); the relay will push", name)
                    self._away = True

    async def stop(self) -> None:
        """Push what is left and end."""
        await self.flush()
        await super().stop()


class PendingPushes:
    """What one transaction lets follow its outermost COMMIT: jobs to push, events to tell.

    Follows the connection, because a savepoint may be rolled back below the session: then what was
    enqueued inside a savepoint is left to the relay, which finds only rows that were committed.
    """

    def __init__(self, connection: Connection) -> None:
        self.root = connection.get_transaction()
        self._waiting: list[tuple[bool, Following]] = []
        self._connection = connection
        self._follows = False

    def add(self, following: "Following", *, nested: bool) -> None:
        """Remember it; `nested`: it was enqueued inside a savepoint."""
        if nested and not self._follows:
            self._follows = True
            event.listen(self._connection, "rollback_savepoint", self._drop_nested)
        self._waiting.append((nested, following))

    def release(self) -> None:
        """The outermost transaction has committed."""
        waiting, self._waiting = self._waiting, []
        reach("enqueue_committed")
        for _, following in waiting:
            following()

    @property
    def committed(self) -> bool:
        """Whether the outermost transaction has ended; asked right after a commit."""
        return self.root is None or not self.root.is_active

    def forget(self) -> None:
        """The transaction has ended; its connection may have many more of them."""
        if self._follows:
            event.remove(self._connection, "rollback_savepoint", self._drop_nested)

    def _drop_nested(self, *_: Any) -> None:
        self._waiting = [(nested, one) for nested, one in self._waiting if not nested]


Following = Callable[[], None]
"""Called after a COMMIT, and quick."""


def call_after_commit(session: Session, connection: Connection, following: Following) -> None:
    """Call `following` once the outermost transaction of `session` has committed.

    If the session has joined a transaction that somebody else commits, nobody tells us, and it is
    not called: jobs are pushed by the relay then.
    """
    pending = pending_of(session)
    if pending is None or pending.root is not connection.get_transaction():
        event.listen(
            session, "after_commit", _release_if_outermost
        )  # once, however often it is said
        event.listen(session, "after_transaction_end", _drop_with_transaction)
        if pending is not None:
            pending.forget()
        pending = session.info[_PENDING] = PendingPushes(connection)
    pending.add(following, nested=connection.in_nested_transaction())


def call_after_commit_on(connection: Connection, following: Following) -> None:
    """Call `following` once the transaction of a connection without a session has committed."""
    known = vars(connection)
    pending: PendingPushes | None = known.get(_PENDING)
    if pending is None or pending.root is not connection.get_transaction():
        if pending is not None:
            pending.forget()
        pending = known[_PENDING] = PendingPushes(connection)
        # SQLAlchemy has an event before the COMMIT of a connection, and none after it.
        known["_commit_impl"] = partial(_commit_and_release, connection)
    pending.add(following, nested=connection.in_nested_transaction())


def _commit_and_release(connection: Connection) -> None:
    type(connection)._commit_impl(connection)  # noqa: SLF001
    known = vars(connection)
    del known["_commit_impl"]
    pending: PendingPushes = known.pop(_PENDING)
    if pending.root is connection.get_transaction():
        pending.release()
    pending.forget()


def pending_of(session: Session) -> PendingPushes | None:
    """What `session` will push, for whoever commits its transaction from outside."""
    pending: PendingPushes | None = session.info.get(_PENDING)
    return pending


def _release_if_outermost(session: Session) -> None:
    # Also called when a savepoint is released and when a joined session commits.
    pending = pending_of(session)
    if pending is not None and pending.committed:
        pending.release()


def _drop_with_transaction(session: Session, transaction: SessionTransaction) -> None:
    # Whatever its end was: what was to be pushed has been taken by now.
    if transaction.parent is None and (pending := session.info.pop(_PENDING, None)) is not None:
        pending.forget()
