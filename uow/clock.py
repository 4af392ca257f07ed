"""The process's clock: the only place that asks what time it is.

Decisions about what is due are Postgres's and Redis's to make, by their own clocks; this one is
for deadlines inside the process and for what is shown to a person.
"""

from datetime import UTC, datetime


def utcnow() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def milliseconds(moment: datetime) -> int:
    """Unix time of ``moment`` in milliseconds, which is what arq's scores are."""
    return int(moment.timestamp() * 1000)
