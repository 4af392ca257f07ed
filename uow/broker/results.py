"""What arq keeps of a job that has ended."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from arq.jobs import serialize_result

from uow.broker import codec


class EndedJob(NamedTuple):
    """A job and how it has ended, as arq's clients read it.

    Attributes:
        ref: What the log calls the job.
        result: What the function returned, or the exception that stands for its failure.
        tries: How many there were, this one included.
    """

    name: str
    job_id: str
    queue: str
    ref: str
    tries: int
    enqueued_ms: int
    started_ms: int
    finished_ms: int
    succeeded: bool
    result: object
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})

    def written(self, serializer: Callable[[Any], bytes] | None = codec.for_redis) -> bytes | None:
        """The bytes of arq's result key; None if they cannot be written at all.

        Args:
            serializer: None: pickle, as of an arq worker that has no other.
        """
        return serialize_result(
            self.name, self.args, dict(self.kwargs), self.tries, self.enqueued_ms,
            self.succeeded, self.result, self.started_ms, self.finished_ms, self.ref,
            self.queue, self.job_id, serializer=serializer,
        )  # fmt: skip
