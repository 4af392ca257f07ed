"""The bytes of a job and of a result: JSON in arq's own shape, never pickle.

`serialize` and `deserialize` are what a stock arq client is given, too. An exception travels as
its type's name, its message and its traceback, and comes back only as `asyncio.CancelledError`,
`arq.worker.JobExecutionFailed` or `uow.errors.TaskFailed`: no class is looked up by a name from
the network.
"""

import asyncio
import re
from typing import Any

from arq.worker import JobExecutionFailed
from pydantic_core import PydanticSerializationError, from_json, to_json

from uow.errors import InvalidArguments, PayloadTooLarge, TaskFailed, UndecodablePayload
from uow.telemetry.description import describe

MAX_BYTES = 1_048_576
"""Default limit of a payload; `WORKER_MAX_PAYLOAD_BYTES` changes it where settings are read."""

SAFE_DEPTH = 100
"""Levels of nesting that the JSON reader surely takes; it gives up at about 200."""

ROW = "$row"
"""The keyword argument that marks a job as having a row, and names it."""

HEADERS = "$headers"
"""The keyword argument in which the headers of a rowless task travel: arq hands on nothing else."""

_ERROR = "$error"

# An escaped NUL: \u0000 after an even number of backslashes.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def serialize(data: dict[str, Any]) -> bytes:
    """Write a job or a result as JSON.

    Raises:
        InvalidArguments: It holds something that is not JSON.
        PayloadTooLarge: It is larger than 1 MiB.
    """
    payload = to_bytes(data)
    check_size(payload, MAX_BYTES)
    return payload


def deserialize(payload: bytes) -> dict[str, Any]:
    """Read a job or a result.

    Raises:
        UndecodablePayload: It is not a JSON object of arq's shape.
    """
    try:
        data = from_json(payload)
    except ValueError as error:
        raise UndecodablePayload(f"the payload is not JSON: {_kind_of(payload)}") from error
    if not (isinstance(data, dict) and isinstance(data.get("f"), str)):
        raise UndecodablePayload("the payload is JSON, but not a job in arq's shape")
    if not (isinstance(data.get("a"), list) and isinstance(data.get("k"), dict)):
        raise UndecodablePayload("the payload's arguments are not a list and an object")
    if not isinstance(data.get("t"), int | None):
        raise UndecodablePayload("the payload's number of the try is no number")
    if isinstance(data.get("r"), dict) and _ERROR in data["r"]:
        data["r"] = _to_exception(data["r"][_ERROR])
    return data


def durable_payload(name: str, row_id: str, enqueued_ms: int) -> bytes:
    """The payload of a job that has a row: the row holds the arguments, and it decides."""
    row = b'{"%b":"%b"}' % (ROW.encode(), row_id.encode())
    return b'{"t":null,"f":%b,"a":[],"k":%b,"et":%d}' % (to_json(name), row, enqueued_ms)


def rowless_payload(
    name: str, arguments: bytes, enqueued_ms: int, headers: str | None = None
) -> bytes:
    """The payload of a rowless task, which lives in Redis alone.

    Args:
        arguments: A JSON object, as `headers` is.
    """
    if headers is not None:
        rest = b"}" if arguments == b"{}" else b"," + arguments[1:]
        arguments = b'{"%b":%b%b' % (HEADERS.encode(), headers.encode(), rest)
    return b'{"t":null,"f":%b,"a":[],"k":%b,"et":%d}' % (to_json(name), arguments, enqueued_ms)


def to_bytes(value: object) -> bytes:
    """JSON of anything that pydantic can write, plus exceptions.

    Raises:
        InvalidArguments: It cannot be written, or holds a NUL character, which Postgres refuses.
    """
    return refuse_unstorable(_written(value))


def for_redis(value: object) -> bytes:
    """As `to_bytes`, for what Redis alone keeps: a stock client's job id may hold a NUL.

    Raises:
        InvalidArguments: It cannot be written.
    """
    return _refuse_unreadable(_written(value))


def refuse_unstorable(written: bytes) -> bytes:
    """Return the JSON `written`, unless Postgres could not store it or nobody could read it back.

    Raises:
        InvalidArguments: It holds a NUL character, or is nested too deeply.
    """
    if b"\\u0000" in written and _NUL.search(written):
        raise InvalidArguments("holds a NUL character (\\u0000), which Postgres cannot store")
    return _refuse_unreadable(written)


def _written(value: object) -> bytes:
    try:
        return to_json(value, fallback=_tag_exception, inf_nan_mode="strings")
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidArguments(f"cannot be written as JSON: {error}") from error


def _refuse_unreadable(written: bytes) -> bytes:
    if len(written) > SAFE_DEPTH and written.count(b"[") + written.count(b"{") > SAFE_DEPTH:
        try:
            from_json(written)
        except ValueError as error:
            raise InvalidArguments(f"cannot be read back: {error}") from error
    return written


def from_bytes(written: bytes | str | None) -> Any:
    """The value of what `to_bytes` wrote; None for nothing."""
    return None if written is None else from_json(written)


def check_size(payload: bytes, limit: int) -> None:
    """Refuse what is too large.

    Raises:
        PayloadTooLarge: With both numbers.
    """
    if len(payload) > limit:
        raise PayloadTooLarge(
            f"{len(payload):,} bytes of JSON, but at most {limit:,} are allowed "
            "(WORKER_MAX_PAYLOAD_BYTES); store it elsewhere and pass a reference"
        )


def _tag_exception(value: object) -> object:
    if isinstance(value, BaseException):
        return {_ERROR: describe(value)}
    raise InvalidArguments(f"{type(value).__name__} is not JSON")


def _to_exception(error: dict[str, str]) -> BaseException:
    kind, message = str(error.get("error_type")), str(error.get("message"))
    match kind:
        case "CancelledError":
            return asyncio.CancelledError(message)
        case "JobExecutionFailed":
            return JobExecutionFailed(message)
        case _:
            return TaskFailed(kind, message, str(error.get("traceback", "")))


def _kind_of(payload: bytes) -> str:
    if payload[:1] == b"\x80":
        return "it looks like pickle; give the client uow.broker.codec.serialize"
    return f"{len(payload)} bytes of something else"
