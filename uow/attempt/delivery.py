"""What a worker makes of the bytes it finds in Redis. It never raises.

arq fails a job by itself when the payload cannot be read or names no function, and nobody would
tell the row. So such a job becomes a call of one of two internal functions that deal with it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from uuid import UUID, uuid5

from asyncpg.pgproto import pgproto

from uow.attempt.running import Held
from uow.broker import codec
from uow.clock import milliseconds
from uow.errors import UndecodablePayload
from uow.tasks.context import ProcessContext
from uow.tasks.headers import NO_HEADERS, are_headers

UNKNOWN = "worker.unknown_task"
"""Runs in place of a function that this process does not have."""

UNDECODABLE = "worker.undecodable_payload"
"""Runs in place of a job whose payload cannot be read."""

_FOREIGN_JOBS = UUID("5f0c3a52-5b8e-4d0e-9b0c-6d8f0f1f8a11")


class Delivery(NamedTuple):
    """One job, as it arrived.

    Attributes:
        row_id: The row it is marked with; None: a stock arq client's job, or a rowless one.
        args: Positional arguments, which only a stock client gives.
        headers: What travels with it in Redis; that of a task with a row is in the row.
    """

    name: str
    job_id: str
    row_id: UUID | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    score: int
    enqueued_ms: int
    job_try: int
    headers: Mapping[str, str] = NO_HEADERS

    @classmethod
    def from_call(
        cls, name: str, ctx: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Self:
        """The delivery behind arq's call of a registered function."""
        return cls(
            name=name,
            job_id=ctx["job_id"],
            row_id=row_id_of(kwargs),
            args=args,
            headers=taken_headers(kwargs),
            kwargs=kwargs,
            score=ctx["score"],
            enqueued_ms=milliseconds(ctx["enqueue_time"]),
            job_try=ctx["job_try"],
        )

    def __str__(self) -> str:
        return f"{self.name} {self.job_id}"

    @property
    def context(self) -> dict[str, Any]:
        """What arq puts into a job's ctx; a worker that is not arq's makes it of this."""
        return {
            "job_id": self.job_id,
            "job_try": self.job_try,
            "enqueue_time": datetime.fromtimestamp(self.enqueued_ms / 1000, UTC),
            "score": self.score,
        }

    @property
    def foreign_row_id(self) -> UUID:
        """The row's id for a stock client's job: job ids may be reused, so the time is in it."""
        return uuid5(_FOREIGN_JOBS, f"{self.job_id}:{self.enqueued_ms}")


class HeldJob(NamedTuple):
    """A delivery that this process holds.

    Attributes:
        ctx: The job's, as arq makes it.
    """

    ctx: ProcessContext
    delivery: Delivery
    held: Held

    @property
    def task_id(self) -> UUID:
        """The row's: for a job of a task that has one."""
        assert self.held.task_id is not None  # noqa: S101 - it has a row
        return self.held.task_id


def taken_headers(kwargs: dict[str, Any]) -> Mapping[str, str]:
    """The headers, taken out of a payload's arguments; what is none stays, and fits no function."""
    if codec.HEADERS in kwargs and are_headers(kwargs[codec.HEADERS]):
        return MappingProxyType(kwargs.pop(codec.HEADERS))
    return NO_HEADERS


def row_id_of(kwargs: dict[str, Any]) -> UUID | None:
    """The row that a payload's arguments are marked with."""
    marker = kwargs.get(codec.ROW)
    try:
        # Read, written and compared several times per job, at a tenth of the standard one's cost.
        return None if marker is None else pgproto.UUID(str(marker))
    except ValueError:
        return None


def deserializer(known: Callable[[str], bool]) -> Callable[[bytes], dict[str, Any]]:
    """A deserializer for the worker, which knows the functions that `known` says."""

    def deserialize(payload: bytes) -> dict[str, Any]:
        try:
            data = codec.deserialize(payload)
        except UndecodablePayload as error:
            return _call(UNDECODABLE, {"reason": str(error)}, 0)
        except Exception as error:  # whatever it is, it is in the payload
            return _call(UNDECODABLE, {"reason": f"{type(error).__name__}: {error}"}, 0)
        if "r" in data or known(data["f"]):
            return data
        return _call(UNKNOWN, {"name": data["f"], **_marker(data["k"])}, _time_of(data))

    return deserialize


def _marker(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {codec.ROW: kwargs[codec.ROW]} if codec.ROW in kwargs else {}


def _time_of(data: dict[str, Any]) -> int:
    value = data.get("et")
    return value if isinstance(value, int) else 0


def _call(name: str, kwargs: dict[str, Any], enqueued_ms: int) -> dict[str, Any]:
    return {"t": None, "f": name, "a": (), "k": kwargs, "et": enqueued_ms}
