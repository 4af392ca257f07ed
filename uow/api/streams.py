"""Streams of events: one listener per process, and what it hears dealt out to whoever follows.

A stream begins with a snapshot and goes on with what is settled since, is new or has started. Hints
say only "look now": what is settled is read from Postgres, once for all streams; what is new is
looked for, four times a second (`uow.api.looks`). Whatever may have been missed (too much at once,
an outage, a client that reads too slowly) ends in a new snapshot, so that memory is bounded and
what is told last is true.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from uuid import UUID

from fastapi import HTTPException

from uow.api.ending import told_to_stop
from uow.api.looks import Looks
from uow.api.problems import RETRY_AFTER
from uow.broker.redis import RedisClient
from uow.broker.settlements import Settlements
from uow.db.database import Database
from uow.db.failures import is_infrastructure
from uow.db.following import FollowedTask
from uow.errors import ServerUnreachable
from uow.questions.following import Following, followings_of, snapshot, tasks_of
from uow.service import Service

logger = logging.getLogger(__name__)

FRAME_SECONDS = 0.25
"""Between two frames of a stream."""

READ_SECONDS = 0.05
"""Between two reads of what is settled, for all streams: no frame waits for both."""

OVERFLOW_SECONDS = 1.0
"""After a round that was too much: then each stream asks anew, which costs more."""

BEAT_SECONDS = 15.0
"""Of quiet, after which a stream looks by itself, and says that it lives."""

GATHER_SECONDS = 0.02
"""How long a question waits for others that ask the same."""

MOST_STREAMS = 500
MOST_IDS = 1_000
"""Of one round; if more tasks are settled in it, every stream begins anew."""

MOST_PENDING = 200
"""Tasks that one stream holds for its client; if there are more, it begins anew."""

QUESTIONS_AT_ONCE = 2
"""Connections to Postgres that snapshots may take from the routes."""


class Stream:
    """What one client is to be told next.

    Attributes:
        due: Set while there is something.
        begins_anew: Whether that is a snapshot.
    """

    def __init__(self) -> None:
        self.due = asyncio.Event()
        self.begins_anew = True
        self._pending: dict[UUID, FollowedTask] = {}
        self.due.set()

    def tell(self, task: FollowedTask) -> None:
        """The task has been settled, or is new, or not as it was."""
        if not self.begins_anew:
            self._pending[task.id] = task
            if len(self._pending) > MOST_PENDING:
                self.begin_anew()
        self.due.set()

    def begin_anew(self) -> None:
        """Something may have been missed."""
        self._pending.clear()
        self.begins_anew = True
        self.due.set()

    def take(self) -> list[FollowedTask]:
        """What has been told, each task as it was last; from then on nothing is due."""
        taken = list(self._pending.values())
        self._pending.clear()
        self.begins_anew = False
        self.due.clear()
        return taken


class Streams(Service):
    """All streams of a process; it listens while there is one.

    Args:
        db: Where tasks are read.
        redis: Where it is told that one is settled.

    Attributes:
        closing: Set when the process is told to stop: streams end then, or the server would wait
            for them.
    """

    def __init__(self, db: Database, redis: RedisClient) -> None:
        super().__init__(interval=60.0)
        self._db = db
        self._listener = Settlements(redis, self._note, self._begin_all_anew)
        self._looks = Looks(db, lambda: self._wide > 0, self._deal_out, self._begin_all_anew)
        self._open: dict[Following, set[Stream]] = {}
        self._ids: set[UUID] = set()
        self._asking: dict[Following, asyncio.Task[list[FollowedTask]]] = {}
        self._questions = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._wide = 0  # streams that follow more than one task
        self._changing = asyncio.Lock()
        self._listens = False
        self._listening = contextlib.ExitStack()
        self.closing = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    @contextlib.asynccontextmanager
    async def following(self, what: Following) -> AsyncIterator[Stream]:
        """A stream of what is followed, for as long as the block lasts.

        Raises:
            HTTPException: 503, there are `MOST_STREAMS`, or the process is about to stop.
        """
        if self.closing.is_set() or len(self) >= MOST_STREAMS:
            raise HTTPException(503, "no more streams of events here; try again", RETRY_AFTER)
        stream = Stream()
        await self._add(what, stream)
        try:
            yield stream
        finally:
            await self._remove(what, stream)

    async def ask(self, what: Following) -> list[FollowedTask]:
        """What there is now; of those who ask the same at once, one asks Postgres.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, ServerUnreachable: Postgres is away.
        """
        asking = self._asking.get(what)
        if asking is None:
            asking = self._asking[what] = asyncio.create_task(self._ask_soon(what))
            asking.add_done_callback(_hear)
        return await asyncio.shield(asking)

    async def run_once(self) -> None:
        """Read what is settled since, and deal it out."""
        ids, self._ids = self._ids, set()
        if not ids:
            return
        if len(ids) > MOST_IDS:
            self._begin_all_anew()
            await asyncio.sleep(OVERFLOW_SECONDS)
            return
        try:
            settled = await tasks_of(self._db, ids)
            self._looks.watch(settled)
            self._deal_out(settled)
        except Exception as error:
            if not is_away(error):
                logger.exception("streams of events: what is settled cannot be read")
            self._begin_all_anew()
        await asyncio.sleep(READ_SECONDS)

    def close(self) -> None:
        """End all streams, and open no more."""
        self.closing.set()

    async def _add(self, what: Following, stream: Stream) -> None:
        self._open.setdefault(what, set()).add(stream)
        self._wide += what.task is None
        await self._listen_or_not()

    async def _remove(self, what: Following, stream: Stream) -> None:
        self._open[what].discard(stream)
        if not self._open[what]:
            del self._open[what]
        self._wide -= what.task is None
        await self._listen_or_not()

    async def _listen_or_not(self) -> None:
        """Listen from the first stream to the last: one may come while the last one goes."""
        async with self._changing:
            if self._open and not self._listens:
                self._listens = True
                self._listening.enter_context(told_to_stop(self.close))
                await self._listener.start()
                await self.start()
                await self._looks.start()
            elif self._listens and not self._open:
                self._listens = False
                self._listening.close()
                await self._listener.stop()
                await self._looks.stop()
                await self.stop()

    def _note(self, told: str) -> None:
        try:
            task_id = UUID(told)
        except ValueError:  # somebody else's word on our channel
            return
        if self._wide or Following(task=task_id) in self._open:
            if len(self._ids) <= MOST_IDS:
                self._ids.add(task_id)
            self.wake()

    def _deal_out(self, tasks: Iterable[FollowedTask]) -> None:
        for task in tasks:
            for what in followings_of(task):
                for stream in self._open.get(what, ()):
                    stream.tell(task)

    def _begin_all_anew(self) -> None:
        for streams in self._open.values():
            for stream in streams:
                stream.begin_anew()

    async def _ask_soon(self, what: Following) -> list[FollowedTask]:
        async with self._questions:
            await asyncio.sleep(GATHER_SECONDS)
            del self._asking[what]  # who comes from here on may know of something newer
            found = await snapshot(self._db, what)
            self._looks.watch(found)
            return found


def is_away(error: Exception) -> bool:
    """Whether it passes when the server is back."""
    return is_infrastructure(error) or isinstance(error, ServerUnreachable | OSError)


def _hear(asked: "asyncio.Task[list[FollowedTask]]") -> None:
    """Its error is for those who wait; should none be left, it is nobody's."""
    if not asked.cancelled():
        asked.exception()
