"""What attempts see of our engine."""

from collections.abc import Coroutine
from typing import Any, Protocol

from uow.attempt.running import Held
from uow.broker.claims import Finish


class Engine(Protocol):
    """What attempts need of the worker that runs them.

    Attributes:
        ctx: The process's, of which each attempt gets a copy.
        jobs_complete: How many have ended well; as the next two, arq's own count.
        jobs_failed: How many have failed for good.
        jobs_retried: How many went back into their queue.
    """

    ctx: dict[Any, Any]
    jobs_complete: int
    jobs_failed: int
    jobs_retried: int

    def spawn(self, held: Held, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the job's slot."""

    def finish(self, held: Held, finish: Finish) -> None:
        """Let Redis do what is to become of a job."""
