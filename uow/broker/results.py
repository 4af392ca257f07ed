"""What arq keeps of a job that has ended."""

from collections.abc import Callable
from typing import Any, NamedTuple

from arq.jobs import serialize_result

from uow.broker import codec


class EndedJob(NamedTuple):
    """A job and how it has ended, as arq's clients read it; in the order in which arq writes it.

    Attributes:
        tries: How many there were, this one included.
        result: What the function returned, or the exception that stands for its failure.
        ref: What the log calls the job.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tries: int
    enqueued_ms: int
    succeeded: bool
    result: object
    started_ms: int
    finished_ms: int
    ref: str
    queue: str
    job_id: str

    def written(self, serializer: Callable[[Any], bytes] | None = codec.for_redis) -> bytes | None:
        """The bytes of arq's result key; None if they cannot be written at all.

        Args:
            serializer: None: pickle, as of an arq worker that has no other.
        """
        return serialize_result(*self, serializer=serializer)
