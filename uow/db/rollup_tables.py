"""Our tables of counts: what processes have written, and what the leader has made of it.

They grow by what there is to tell apart and not by tasks; nothing refers to them, and no task waits
for them.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, JSON, BigInteger, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from uow.db.base import Base


class RollupInbox(Base):
    """What one process has counted in ten seconds, until the leader has added it up."""

    __tablename__ = "rollup_inbox"

    #: A start of a worker; no other has this name.
    process: Mapped[str] = mapped_column(primary_key=True)
    #: Counts its rows; the same one is the same row, whoever did not hear that it was written.
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    #: By the clock of Postgres: that of a process may be wrong.
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    counts: Mapped[list[Any]] = mapped_column(JSON)


class RollupSource(Base):
    """How much of a process is added up: a row that comes a second time is left out."""

    __tablename__ = "rollup_source"

    process: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class RollupMinute(Base):
    """The attempts that have ended in a minute; kept for two days."""

    __tablename__ = "rollup"

    minute: Mapped[datetime] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    #: How many waited, and ran, how long: see `uow.db.durations`.
    waited: Mapped[list[int]] = mapped_column(ARRAY(Integer()))
    ran: Mapped[list[int]] = mapped_column(ARRAY(Integer()))


class RollupHour(Base):
    """The same of an hour, in UTC; kept for 90 days."""

    __tablename__ = "rollup_hour"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    waited: Mapped[list[int]] = mapped_column(ARRAY(Integer()))
    ran: Mapped[list[int]] = mapped_column(ARRAY(Integer()))


class RollupError(Base):
    """The errors that attempts have ended by in an hour, by type; kept for 90 days."""

    __tablename__ = "rollup_error"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    error_type: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)


class RollupErrorDay(Base):
    """The same of a day, in UTC: of 90 days there are too many hours to add up."""

    __tablename__ = "rollup_error_day"

    day: Mapped[datetime] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    error_type: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    #: The first hour of it that has one, and the last.
    since: Mapped[datetime]
    latest: Mapped[datetime]
