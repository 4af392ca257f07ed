"""What a job says, read from bytes that anybody may have written."""

from dataclasses import dataclass, field
from typing import Any

from arq.jobs import DeserializationError, Deserializer, deserialize_job_raw
from arq.utils import ms_to_datetime


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The function that a job calls, and with what.

    Attributes:
        tries: Number of the try that its client wanted it to begin with; 0: it did not say.
        enqueued_ms: When it was enqueued, by its client's clock.
    """

    name: str = "<unknown>"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
    enqueued_ms: int = 0


def read(payload: bytes, deserializer: Deserializer | None) -> FunctionCall:
    """Read a job.

    Raises:
        DeserializationError: It is none; also where arq would only find out later, in its own loop.
    """
    name, args, kwargs, tries, enqueued_ms = deserialize_job_raw(payload, deserializer=deserializer)
    try:
        call = FunctionCall(name, args, kwargs, tries or 0, int(enqueued_ms))
        ms_to_datetime(call.enqueued_ms)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise DeserializationError("unable to deserialize job") from error
    if not _is_sound(call):
        raise DeserializationError("unable to deserialize job: a part is of a wrong type")
    return call


def _is_sound(call: FunctionCall) -> bool:
    return (
        isinstance(call.name, str)
        and isinstance(call.args, tuple | list)
        and isinstance(call.kwargs, dict)
        and isinstance(call.tries, int)
    )
