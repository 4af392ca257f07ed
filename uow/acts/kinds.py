"""The acts: each is done to several tasks by one guarded statement, and knows whom it passes by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol
from uuid import UUID

from uow.acts.following import ActFollowing
from uow.acts.left import Why
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.db import acts, interventions
from uow.db.acts import TaskStanding
from uow.db.delivery import Pushable
from uow.db.models import TaskState
from uow.db.statement import Statements
from uow.errors import InvalidOptions
from uow.tasks.options import MAX_PRIORITY

UNSETTLED = tuple(state for state in TaskState if not state.settled)
SETTLED = tuple(state for state in TaskState if state.settled)


@dataclass(frozen=True, slots=True)
class DoneTo:
    """What an act was done to.

    Attributes:
        rows: Those of them that Redis is to hear of.
        left: Tasks that were left alone for a reason that their rows do not say.
    """

    ids: Sequence[UUID]
    rows: Sequence[Pushable] = ()
    left: Mapping[UUID, Why] = field(default_factory=dict)


class Act(Protocol):
    """Something that is done to tasks.

    Attributes:
        name: How it is called.
        states: What a filter means that names no state.
    """

    name: ClassVar[str]
    states: ClassVar[tuple[TaskState, ...]]

    @property
    def options(self) -> Mapping[str, int]:
        """What it was given beside the tasks."""

    async def do(self, db: Statements, ids: Sequence[UUID]) -> DoneTo:
        """Do it, in the transaction of the caller's, to those for which its guard holds.

        Raises:
            asyncpg.UniqueViolationError: A key was taken at this very moment.
            RedisError, OSError: Redis, which has to be asked before, is away.
        """

    def why(self, standing: TaskStanding) -> Why:
        """Why a task that is like that was left alone."""

    async def follow(self, done: DoneTo, following: ActFollowing) -> None:
        """After the commit: tell Redis."""


@dataclass(frozen=True, slots=True)
class CancelAct:
    """Settle a task as cancelled, at once and for good.

    Attributes:
        retention: Seconds that it is kept.
    """

    retention: float
    name: ClassVar[str] = "cancel"
    states: ClassVar[tuple[TaskState, ...]] = UNSETTLED
    options: ClassVar[Mapping[str, int]] = {}

    async def do(self, db: Statements, ids: Sequence[UUID]) -> DoneTo:
        """Only what is not settled."""
        return DoneTo(await acts.cancel_many(db, ids, self.retention))

    def why(self, standing: TaskStanding) -> Why:
        """It is settled."""
        return Why.SETTLED if standing.state.settled else Why.CHANGED

    async def follow(self, done: DoneTo, following: ActFollowing) -> None:
        """Attempts are told."""
        await following.cancelled(done.ids)


@dataclass(frozen=True, slots=True)
class RetryAct:
    """Let a failed or cancelled task run again, at once and with all its tries."""

    name: ClassVar[str] = "retry"
    states: ClassVar[tuple[TaskState, ...]] = (TaskState.FAILED,)
    options: ClassVar[Mapping[str, int]] = {}

    async def do(self, db: Statements, ids: Sequence[UUID]) -> DoneTo:
        """Only what has failed or was cancelled, and whose key nobody has."""
        rows = await interventions.retry_settled_many(db, ids)
        return DoneTo([row.id for row in rows], rows)

    def why(self, standing: TaskStanding) -> Why:
        """It is none of these."""
        if standing.state is TaskState.RUNNING:
            return Why.RUNNING
        if not standing.state.settled:
            return Why.UNSETTLED
        if standing.state is TaskState.SUCCEEDED:
            return Why.SUCCEEDED
        return Why.CHANGED if standing.holder is None else Why.KEY_TAKEN

    async def follow(self, done: DoneTo, following: ActFollowing) -> None:
        """They are pushed."""
        await following.again(done.rows)


@dataclass(frozen=True, slots=True)
class RunNowAct:
    """Let a task that waits for a time be due."""

    name: ClassVar[str] = "run-now"
    states: ClassVar[tuple[TaskState, ...]] = (TaskState.SCHEDULED, TaskState.RETRYING)
    options: ClassVar[Mapping[str, int]] = {}

    async def do(self, db: Statements, ids: Sequence[UUID]) -> DoneTo:
        """Only what waits and is not due."""
        rows = await acts.run_now(db, ids)
        return DoneTo([row.id for row in rows], rows)

    def why(self, standing: TaskStanding) -> Why:
        """It does not wait for a time."""
        if standing.state.settled:
            return Why.SETTLED
        if standing.state is TaskState.RUNNING:
            return Why.RUNNING
        return Why.DUE if standing.due else Why.CHANGED

    async def follow(self, done: DoneTo, following: ActFollowing) -> None:
        """Their jobs are due."""
        await following.moved(done.rows)


@dataclass(frozen=True, slots=True)
class PriorityAct:
    """Give an unsettled task another priority, from its next delivery on.

    Raises:
        InvalidOptions: There is no such priority.
    """

    priority: int
    name: ClassVar[str] = "priority"
    states: ClassVar[tuple[TaskState, ...]] = UNSETTLED

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= MAX_PRIORITY:
            raise InvalidOptions(f"priority={self.priority} is not between 0 and {MAX_PRIORITY}")

    @property
    def options(self) -> Mapping[str, int]:
        """The priority."""
        return {"priority": self.priority}

    async def do(self, db: Statements, ids: Sequence[UUID]) -> DoneTo:
        """Only what is not settled, and has another."""
        changed = await acts.set_priority(db, ids, self.priority)
        return DoneTo([row.id for row, _ in changed], [row for row, runs in changed if not runs])

    def why(self, standing: TaskStanding) -> Why:
        """It is settled, or has it."""
        if standing.state.settled:
            return Why.SETTLED
        return Why.SAME if standing.priority == self.priority else Why.CHANGED

    async def follow(self, done: DoneTo, following: ActFollowing) -> None:
        """What is due moves in its queue; a priority that is not due waits in Postgres."""
        await following.moved(row for row in done.rows if row.due)
        if self.priority:
            await following.moved((row for row in done.rows if not row.due), leave=True)


@dataclass(frozen=True, slots=True)
class DeleteAct:
    """Remove a settled task, with its errors and the arguments that were edited.

    A stock client's job whose row is gone would run as a new one, so a task stays as long as its
    job may be in Redis; and so does the last task of a schedule.
    """

    redis: RedisClient
    name: ClassVar[str] = "delete"
    states: ClassVar[tuple[TaskState, ...]] = SETTLED
    options: ClassVar[Mapping[str, int]] = {}

    async def do(self, db: Statements, ids: Sequence[UUID]) -> DoneTo:
        """Only what is settled, and not in Redis any more."""
        jobs = await acts.jobs_of(db, ids)
        if not jobs:
            return DoneTo([])
        payloads = await self.redis.mget([keys.job(job_id) for job_id in jobs.values()])
        there = {id_ for id_, payload in zip(jobs, payloads, strict=True) if payload is not None}
        gone = await acts.delete_settled(db, [id_ for id_ in jobs if id_ not in there])
        return DoneTo(gone, left=dict.fromkeys(there, Why.IN_REDIS))

    def why(self, standing: TaskStanding) -> Why:
        """It is not settled, or a schedule's last."""
        if standing.state is TaskState.RUNNING:
            return Why.RUNNING
        if not standing.state.settled:
            return Why.UNSETTLED
        return Why.LAST_OF_SCHEDULE if standing.is_last else Why.CHANGED

    async def follow(self, done: DoneTo, following: ActFollowing) -> None:
        """Nobody has to hear of it."""
