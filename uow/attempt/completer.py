"""Who writes the end of an attempt, and tells it."""

from typing import Protocol

from uow.attempt.attempt import Attempt
from uow.failpoints import reach
from uow.tasks.outcome import Outcome


class Completer(Protocol):
    """Ends attempts whose function has returned or failed."""

    async def complete(self, attempt: Attempt, outcome: Outcome) -> None:
        """Write `outcome` to the row, under the attempt's guard, and answer.

        It may be written later, and together with others, if it has nothing else to commit; the
        answer comes after that.

        Raises:
            arq.Retry, TaskFailed, asyncio.CancelledError: What arq, or who stands in its place, is
                to be told of the job.
        """


class Guarded:
    """One by one, each in the attempt's own commit: for everybody."""

    async def complete(self, attempt: Attempt, outcome: Outcome) -> None:
        """Settle, and answer."""
        settled = await attempt.settle(outcome)
        reach("settled")
        await attempt.answer(settled)
