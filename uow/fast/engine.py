"""What attempts need of the worker that runs them."""

from collections.abc import Coroutine
from typing import Any, Protocol

from uow.attempt.running import Held
from uow.broker.claims import Finish


class Engine(Protocol):
    """The worker, as what runs in its slots knows it."""

    ctx: dict[Any, Any]
    jobs_complete: int
    jobs_failed: int
    jobs_retried: int

    def spawn(self, held: Held, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the job's slot."""

    def finish(self, held: Held, finish: Finish) -> None:
        """Let Redis do what is to become of a job."""
