"""What somebody decides about a task from outside: to cancel it, or to let it run again.

Each is one guarded statement, so whoever decides at the same time, an attempt included, either came
first or finds it decided. Redis is told afterwards; should that be lost, a cancelled attempt finds
out at its commit, and the relay pushes what is to run again.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from uow.broker import keys
from uow.broker.redis import AWAY, RedisClient
from uow.broker.scripts import Job
from uow.db import attempts, interventions
from uow.db.delivery import Pushable
from uow.db.failures import PASSING, sqlstate
from uow.db.statement import Statements
from uow.errors import InvalidOptions, TaskNotFound, UniqueKeyTaken
from uow.events.spine import Spine
from uow.names import is_storable
from uow.tasks.jobs import jobs_of_rows
from uow.tasks.settled import tell_settled

TAKEN = "23505"
"""SQLSTATE: a unique index refuses it."""

DEADLOCK = "40P01"
"""SQLSTATE."""

BATCH = 1000
"""Tasks per transaction: some ten milliseconds in which their locks are held."""

RACES = 10
"""How often a key may be found taken while nobody has it, before that is told as an error."""


Retryable = Literal["failed", "cancelled", "both"]
"""The states from which a task can run again."""

_STATES = {"failed": ["failed"], "cancelled": ["cancelled"], "both": ["failed", "cancelled"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which settled tasks are meant: those that fit everything that is given.

    Raises:
        InvalidOptions: Nothing is given, or a value does not fit.
    """

    name: str | None = None
    state: Retryable | None = None
    queue: str | None = None
    user_id: str | None = None
    settled_before: datetime | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        fault = self._fault()
        if fault is not None:
            raise InvalidOptions(f"cannot tell which tasks are to run again: {fault}")

    def _fault(self) -> str | None:
        given = (self.name, self.state, self.queue, self.user_id, self.settled_before)
        if all(value is None for value in given):
            return (
                "give a name, queue, user_id or settled_before; or a state, which alone means "
                "every task in it"
            )
        if self.state is not None and self.state not in _STATES:
            return f"state={self.state!r} is none of {', '.join(_STATES)}"
        if self.settled_before is not None and self.settled_before.tzinfo is None:
            return f"settled_before={self.settled_before.isoformat()} has no time zone"
        if self.limit is not None and not 0 < self.limit < 2**31:
            return f"limit={self.limit} is not a positive number"
        for name in ("name", "queue", "user_id"):
            value = getattr(self, name)
            if value is not None and not is_storable(value):
                return f"{name} is none that a task can have"
        return None

    async def find(self, db: Statements) -> list[UUID]:
        """The tasks that are meant."""
        return await interventions.find_retryable(
            db,
            states=_STATES[self.state or "failed"],
            name=self.name,
            queue=self.queue,
            user_id=self.user_id,
            settled_before=self.settled_before,
            limit=self.limit,
        )


class Interventions:
    """Cancels and retries tasks by their ids.

    Args:
        db: The database with the table `task`.
        redis: Where running attempts listen.
        announce: Takes the jobs of what runs again.
        retention: Seconds that a cancelled task is kept.
        events: Whom to tell that one was cancelled.
    """

    def __init__(
        self,
        db: Statements,
        redis: RedisClient,
        announce: Callable[[Sequence[Job]], None],
        retention: float,
        events: Spine,
    ) -> None:
        self._db = db
        self._redis = redis
        self._announce = announce
        self._retention = retention
        self._events = events

    async def cancel(self, task_id: UUID) -> bool:
        """Settle a task as cancelled, at once and for good.

        An attempt that runs is told, if Redis is there, and cannot commit any more.

        Returns:
            False if it was settled already, or is not there.
        """
        if not await interventions.cancel(self._db, task_id, self._retention):
            return False
        with contextlib.suppress(*AWAY):
            await self._redis.publish(keys.CANCEL_CHANNEL, str(task_id))
            await self._redis.publish(keys.settled_channel(str(task_id)), "")
        await tell_settled(self._db, self._events, [task_id])
        return True

    async def retry(self, task_id: UUID) -> bool:
        """Run a task again if it failed or was cancelled: at once, and with all its tries.

        What was recorded of its earlier attempts stays.

        Returns:
            False if it is neither failed nor cancelled.

        Raises:
            UniqueKeyTaken: Another task has its unique key.
            TaskNotFound: It is not there.
        """
        again = await self._retry_unless_taken(task_id)
        if again is not None:
            await self._push([again])
            return True
        if await attempts.look_up(self._db, task_id) is None:
            raise TaskNotFound(f"Task id {task_id} not found")
        return False

    async def retry_many(self, which: Filter) -> int:
        """Run the tasks that `which` means again, the oldest first; returns how many do.

        Left alone is a task whose unique key another has; of several with one key the youngest runs
        again. They are found once, at the beginning: what fails again meanwhile is not taken twice.
        Each batch is a transaction of its own.
        """
        ids = await which.find(self._db)
        again = 0
        for at in range(0, len(ids), BATCH):
            again += await self._retry_batch(ids[at : at + BATCH])
        return again

    async def _retry_unless_taken(self, task_id: UUID) -> Pushable | None:
        races = RACES
        while True:
            try:
                return await interventions.retry_settled(self._db, task_id)
            except PASSING as error:
                if sqlstate(error) != TAKEN:
                    raise
                holder = await interventions.find_key_holder(self._db, task_id)
                if holder is not None:
                    raise UniqueKeyTaken(
                        f"task {task_id} cannot run again: task {holder.id} has its unique key "
                        f"{holder.key!r}"
                    ) from error
                # Its holder was settled, or started, between the two statements: the key is free.
                races -= 1
                if not races:
                    raise

    async def _retry_batch(self, ids: Sequence[UUID]) -> int:
        """Halve it on a race for a key, so that only the task whose key was taken stays behind."""
        try:
            rows = await interventions.retry_settled_many(self._db, ids)
        except PASSING as error:
            state = sqlstate(error)
            if state == TAKEN and len(ids) == 1:
                return 0
            if state not in (TAKEN, DEADLOCK) or len(ids) == 1:
                raise
            middle = len(ids) // 2
            return await self._retry_batch(ids[:middle]) + await self._retry_batch(ids[middle:])
        await self._push(rows)
        return len(rows)

    async def _push(self, rows: Sequence[Pushable]) -> None:
        if rows:
            # A stock client would take the failure that lies there for the end of the new run, and
            # so would the rescuer.
            with contextlib.suppress(*AWAY):
                await self._redis.delete(*(keys.result(row.job_id) for row in rows))
            self._announce(jobs_of_rows(rows))
