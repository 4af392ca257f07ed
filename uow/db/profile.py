"""What a worker process says of itself in its row: what it is, once; how it is, at each heartbeat.

A process of an older version says none of it, so anything may be None: that is not known then.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a process is, from its start to its end.

    Attributes:
        host: The machine's name.
        version: The release of ours that it runs.
        slots: How many tasks it runs at once.
        code: Names which task functions it has (`uow.db.code.Code`).
        lease_seconds: Its `WORKER_LEASE_SECONDS`.
        unknown_task_grace: Its `WORKER_UNKNOWN_TASK_GRACE`, in seconds.
    """

    host: str | None = None
    pid: int | None = None
    version: str | None = None
    slots: int | None = None
    code: str | None = None
    lease_seconds: float | None = None
    unknown_task_grace: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """How a process is at a heartbeat.

    Attributes:
        busy: How many of its slots are taken.
        lag: Seconds for which its event loop does not turn, or has not lately.
        pool_busy: Connections of its pool that somebody has.
        pool_idle: Those that are open and free.
        pool_room: How many more it may open.
    """

    busy: int | None = None
    lag: float | None = None
    pool_busy: int | None = None
    pool_idle: int | None = None
    pool_room: int | None = None
