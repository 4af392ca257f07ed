"""What a task function gets as `ctx`: arq's dict, typed."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypedDict
from uuid import UUID

from arq.connections import ArqRedis
from sqlalchemy.ext.asyncio import AsyncSession

from worker.broker import codec
from worker.db.database import Database
from worker.errors import AttemptSuperseded, PayloadTooLarge
from worker.settings import Settings

MAX_PROGRESS_BYTES = 8192
"""Of one report, as JSON: each one replaces the row's, and everybody who looks reads it."""


class Sessions(Protocol):
    """What `ctx["db"]` is inside a task: the attempt's unit of work."""

    @property
    def get_session(self) -> Callable[[], AbstractAsyncContextManager[AsyncSession]]:
        """``async with ctx["db"].get_session() as session``."""


@dataclass(frozen=True, slots=True)
class RunningTask:
    """The task that is running: `ctx["task"]`.

    Attributes:
        id: The row's id; for a task without a row, None.
        attempt: Which run this is, from 1 on.
        tries: Failures of user code before this run.
        idempotency_key: The same in every attempt of this task: hand it to whatever has effects
            outside Postgres (a payment, a mail), which may happen more than once.
        tick: The tick of the schedule that asked for it; None: no schedule did.
    """

    db: Database
    id: UUID | None
    name: str
    attempt: int
    tries: int
    user_id: str | None
    idempotency_key: str
    tick: datetime | None = None

    async def report(self, **progress: object) -> None:
        """Show progress on the task, at once, in a transaction of its own.

        For a task without a row there is nothing to show it on.

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
        found = await self.db.execute_once(
            self.db.queries.report_progress,
            {"id": self.id, "attempt": self.attempt, "progress": written.decode()},
        )
        if found.first() is None:
            raise AttemptSuperseded(f"{self.name} {self.id} was settled or taken over meanwhile")


class TaskContext(TypedDict):
    """The context of one attempt. More keys may be in it: what your startup hook puts there."""

    db: Sessions
    redis: ArqRedis
    task: RunningTask
    settings: Settings
    job_id: str
    job_try: int
    enqueue_time: datetime
    score: int


ProcessContext = dict[Any, Any]
"""arq's own dict, as its hooks get it."""
