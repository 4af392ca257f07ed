"""Our tables about acts: what was done by whom and answered, bulk acts, and pauses."""

from datetime import datetime
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
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from uow.db.base import SCHEMA, Base


class AuditEntry(Base):
    """One act, written in its own transaction."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=text("now()"), index=True)
    who: Mapped[str]
    face: Mapped[str]
    #: Of the client; None: it was at the shell.
    address: Mapped[str | None]
    what: Mapped[str]
    #: The task, where it is one. No foreign key: that it was deleted stays known.
    task_id: Mapped[UUID | None]
    bulk_id: Mapped[UUID | None]
    filter: Mapped[dict[str, Any] | None]
    #: How many tasks it was done to, and how many were left alone for which reason.
    counts: Mapped[dict[str, Any] | None]
    #: What the act was given beside the tasks, as a priority.
    options: Mapped[dict[str, Any] | None]
    #: What somebody has said why.
    reason: Mapped[str | None]

    __table_args__ = (
        Index("ix_audit_task", "task_id", "id", postgresql_where=text("task_id IS NOT NULL")),
    )


class AuditArguments(Base):
    """The arguments that a task had before somebody edited them, redacted; gone with the task."""

    __tablename__ = "audit_arguments"

    task_id: Mapped[UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.task.id", ondelete="CASCADE"), primary_key=True
    )
    audit_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(AuditEntry.id, ondelete="CASCADE"), primary_key=True, index=True
    )
    args: Mapped[dict[str, Any]] = mapped_column(JSON)


class BulkAct(Base):
    """An act on all tasks that a filter means: first a preview, then what the leader is to do."""

    __tablename__ = "bulk_act"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    act: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    filter: Mapped[dict[str, Any]]
    reason: Mapped[str | None]
    who: Mapped[str]
    face: Mapped[str]
    address: Mapped[str | None]
    previewed_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    #: No task above it is meant; None: there were no tasks.
    upper_id: Mapped[UUID | None]
    count: Mapped[int]
    #: Whether `count` is exact; else there are more.
    is_exact: Mapped[bool]
    samples: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()))
    #: The idempotency key of whoever has confirmed it.
    key: Mapped[str | None] = mapped_column(unique=True)
    confirmed_at: Mapped[datetime | None]
    audit_id: Mapped[int | None] = mapped_column(BigInteger)
    #: Which of the filter's ranges it is in, and the id in it above which everything is done.
    leg: Mapped[int] = mapped_column(server_default=text("0"))
    position: Mapped[UUID | None]
    #: How many tasks the next batch takes.
    batch: Mapped[int]
    looked_at: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    done: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    #: How many were left alone, by reason.
    left_alone: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    #: Somebody has asked for its end.
    stopped_by: Mapped[str | None]
    ended_at: Mapped[datetime | None]
    #: What it has ended by that was no end of its own.
    error: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("ended_at IS NULL OR confirmed_at IS NOT NULL", name="ended"),
        Index(
            "ix_bulk_act_confirmed_at",
            "confirmed_at",
            postgresql_where=text("confirmed_at IS NOT NULL AND ended_at IS NULL"),
        ),
    )


class ActAnswer(Base):
    """What was answered to an act that came with an idempotency key; it is the key's only use."""

    __tablename__ = "act_answer"

    who: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    #: A digest of what was asked: with another one the key is a mistake.
    request: Mapped[str]
    status: Mapped[int]
    #: None: there is none, or it was lost with its process.
    body: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=text("now()"), index=True)


class Pause(Base):
    """A queue, a task function, a user or everything, of which nothing is started."""

    __tablename__ = "pause"

    number: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str]
    #: The queue, the function's name or the user; of everything, empty.
    target: Mapped[str]
    reason: Mapped[str | None]
    paused_by: Mapped[str]
    paused_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    until: Mapped[datetime | None]
    #: From then on it holds nothing back; it is there until the leader has let go what it held.
    resumed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("kind IN ('everything', 'queue', 'name', 'user')", name="kind"),
        Index(
            "uq_pause_kind",
            "kind",
            "target",
            unique=True,
            postgresql_where=text("resumed_at IS NULL"),
        ),
    )
