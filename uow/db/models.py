"""Our tables.

They live in the schema that `SCHEMA` stands for; a `Database` translates it to the one from the
settings, and `uow.db.statement` writes it into each statement. Migrations make the tables; a test
holds the two against each other.

The table `task` is made for churn: few and narrow indexes, no index on `state`, and room in each
page (a fillfactor, set by its migration), so that the start of an attempt is a heap-only update.
What a row may say, whoever writes it, is in the types that `name`, `args`, `ended`, `queue`,
`priority`, `run_at` and `headers` have in the database (domains, made by the migrations tasks_007,
tasks_009 and tasks_012): a row that cannot be pushed would stop a whole batch, and a CHECK would
cost every start and every completion.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Text,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from uow.db.act_tables import AuditArguments as AuditArguments
from uow.db.act_tables import AuditEntry as AuditEntry
from uow.db.act_tables import BulkAct as BulkAct
from uow.db.act_tables import Pause as Pause
from uow.db.base import SCHEMA as SCHEMA
from uow.db.base import Base as Base
from uow.db.installation import WorkerApp as WorkerApp
from uow.db.installation import WorkerIdentity as WorkerIdentity
from uow.db.rollup_tables import RollupError as RollupError
from uow.db.rollup_tables import RollupErrorDay as RollupErrorDay
from uow.db.rollup_tables import RollupHour as RollupHour
from uow.db.rollup_tables import RollupInbox as RollupInbox
from uow.db.rollup_tables import RollupMinute as RollupMinute
from uow.db.rollup_tables import RollupSource as RollupSource

# A UUIDv7 as `uow.ids` makes it; in the words in which Postgres shows it.
_NEW_ID = (
    "((regexp_replace(lpad(to_hex(((((date_part('epoch'::text, clock_timestamp()) * "
    "(1000000)::double precision))::bigint * 512) / 125)), 15, '0'::text), "
    r"""'(...)$'::text, '7\1'::text) || "right"((gen_random_uuid())::text, 17)))::uuid"""
)


class TaskState(StrEnum):
    """Where a task is on its way. The last three are final: the task is settled."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def settled(self) -> bool:
        """Whether nothing can change it any more."""
        return self in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


class Task(Base):
    """What somebody asked for. Outlives Redis; may belong to a user."""

    __tablename__ = "task"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text(_NEW_ID))
    name: Mapped[str]
    #: json, as result and progress are: jsonb has an order of its own for the keys of a dict.
    args: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'::json"))
    state: Mapped[str] = mapped_column(server_default=text("'queued'::text"))
    #: How it ended that did not succeed; None: it has, or is unsettled. For an index: there is none
    #: on `state`, which changes at each start.
    ended: Mapped[str | None]
    queue: Mapped[str] = mapped_column(server_default=text("'arq:queue'::text"))
    priority: Mapped[int] = mapped_column(server_default=text("0"))
    #: Text without a foreign key: the users of a service have keys of any kind.
    user_id: Mapped[str | None]
    #: At most one unsettled task has it.
    unique_key: Mapped[str | None]
    #: At most one task that has not yet started has it; the first start takes it away.
    waiting_key: Mapped[str | None]
    #: Set for a stock arq client's job, which keeps its own id in Redis.
    job_id: Mapped[str | None]
    #: The tick of the schedule that asked for it.
    tick: Mapped[datetime | None]
    run_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    #: When the relay pushes the job; infinity: it has, and the rescuer watches from then on.
    dispatch_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    #: Counts the attempts (asking for a task again leaves a number out); the guard of every write
    #: that an attempt makes.
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    #: Failures of user code so far; only these count towards `max_tries`.
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    #: Processes that died under it; while it is a suspect only those that ran nothing else.
    deaths: Mapped[int] = mapped_column(server_default=text("0"))
    #: Its attempt runs alone in its process.
    alone: Mapped[bool] = mapped_column(server_default=text("false"))
    #: What handed its last attempt back, if that was a server's failure; None: it was not.
    setback: Mapped[str | None]
    #: How many attempts in a row it has.
    setbacks: Mapped[int] = mapped_column(server_default=text("0"))
    #: When a worker first met it without the function that it needs, and none since has had that.
    unknown_since: Mapped[datetime | None]
    worker: Mapped[str | None]
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    result: Mapped[Any | None] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    started_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    #: When retention ends and the pruner removes a settled task.
    expires_at: Mapped[datetime | None]
    #: What travels with it, text by text; None: nothing.
    headers: Mapped[dict[str, str] | None] = mapped_column(JSON)

    __table_args__ = (
        CheckConstraint(
            "state IN ('scheduled', 'queued', 'running', 'retrying', "
            "'succeeded', 'failed', 'cancelled')",
            name="state",
        ),
        CheckConstraint(
            "(settled_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))",
            name="settled",
        ),
        Index(
            "ix_task_dispatch",
            "dispatch_at",
            "id",
            postgresql_where=text("settled_at IS NULL"),
        ),
        Index(
            "uq_task_unique_key",
            "unique_key",
            unique=True,
            postgresql_where=text("settled_at IS NULL AND unique_key IS NOT NULL"),
        ),
        Index(
            "uq_task_waiting_key",
            "waiting_key",
            unique=True,
            postgresql_where=text("settled_at IS NULL AND waiting_key IS NOT NULL"),
        ),
        Index("ix_task_expires_at", "expires_at", postgresql_where=text("settled_at IS NOT NULL")),
        Index("ix_task_user", "user_id", "id", postgresql_where=text("user_id IS NOT NULL")),
        Index("ix_task_ended", "ended", "id", postgresql_where=text("ended IS NOT NULL")),
    )


class FailedAttempt(Base):
    """One failed attempt of a task."""

    __tablename__ = "task_error"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey(Task.id, ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    error_type: Mapped[str]
    message: Mapped[str]
    traceback: Mapped[str] = mapped_column(server_default=text("''::text"))
    worker: Mapped[str | None]
    started_at: Mapped[datetime | None]
    failed_at: Mapped[datetime] = mapped_column(server_default=text("now()"), index=True)

    __table_args__ = (Index("ix_task_error_error_type", "error_type", "id"),)


class WorkerProcess(Base):
    """A worker process that lives: what the rescuer goes by when one dies."""

    __tablename__ = "worker_process"

    id: Mapped[str] = mapped_column(primary_key=True)
    #: The service whose code it runs.
    app: Mapped[str] = mapped_column(server_default=text("'worker'::text"))
    queue: Mapped[str]
    #: The tasks whose attempts it runs.
    running: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()))
    #: It is shutting down by itself: what it leaves behind is no death.
    leaving: Mapped[bool] = mapped_column(server_default=text("false"))
    started_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    # What it is and how it is (`uow.db.profile`); None: a worker of an older version.
    host: Mapped[str | None]
    pid: Mapped[int | None]
    version: Mapped[str | None]
    slots: Mapped[int | None]
    #: The fingerprint of its code.
    code: Mapped[str | None]
    lease_seconds: Mapped[float | None]
    unknown_task_grace: Mapped[float | None]
    busy: Mapped[int | None]
    lag: Mapped[float | None]
    pool_busy: Mapped[int | None]
    pool_idle: Mapped[int | None]
    pool_room: Mapped[int | None]


class WorkerCode(Base):
    """Which task functions there are in the code of worker processes."""

    __tablename__ = "worker_code"

    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    names: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    #: When a process with it last started.
    seen_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class WorkerLeader(Base):
    """Who does the work that is to be done once in the whole fleet; one row, which stays."""

    __tablename__ = "worker_leader"

    duty: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]
    #: When a process was last found dead that no suspect can have killed.
    storm_at: Mapped[datetime | None]
    #: Names what the leader wrote into Redis last: a Redis without it has lost data.
    pulse: Mapped[str | None]


class Schedule(Base):
    """A schedule of a service's code, and how far it is."""

    __tablename__ = "schedule"

    app: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    #: The version of its definition that holds: the newest one that is deployed.
    version: Mapped[str]
    #: All that firing needs: see `uow.schedules.cron.ScheduleDefinition`.
    definition: Mapped[dict[str, Any]]
    #: None: there is none any more.
    next_tick: Mapped[datetime | None]
    last_tick: Mapped[datetime | None]
    #: Of its last tick, or asked for by hand since; it is kept beyond its retention.
    last_task_id: Mapped[UUID | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    #: When a live worker last had it in its code.
    seen_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    paused_at: Mapped[datetime | None]
    #: Since when the service's workers live without it.
    removed_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ix_schedule_next_tick",
            "next_tick",
            postgresql_where=text("paused_at IS NULL AND removed_at IS NULL"),
        ),
    )


class ScheduleVersion(Base):
    """What the code of some worker says about a schedule; during a deploy there are several."""

    __tablename__ = "schedule_version"

    app: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]]
    #: When the first process with it was started, after a time without any.
    deployed_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ScheduleTick(Base):
    """A tick of a schedule and what has become of it: the row that makes it happen once."""

    __tablename__ = "schedule_tick"

    app: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    tick: Mapped[datetime] = mapped_column(primary_key=True)
    fate: Mapped[str]
    #: For missed ticks: the last of them.
    until: Mapped[datetime | None]
    task_id: Mapped[UUID | None]
    noted_at: Mapped[datetime] = mapped_column(server_default=text("now()"), index=True)

    __table_args__ = (
        CheckConstraint(
            "fate IN ('fired', 'asked', 'waiting', 'overlapped', 'missed')", name="fate"
        ),
        Index("ix_schedule_tick_waiting", "tick", postgresql_where=text("fate = 'waiting'")),
    )
