"""Retry by the filter of `TaskClient.retry_many`, at once and here, with one row in the audit.

What it means is found at the beginning, by one statement; a bulk act is what large tables are for.
"""

from collections.abc import Sequence
from uuid import UUID

from uow.acts.actor import Actor
from uow.acts.following import ActFollowing
from uow.acts.kinds import RetryAct
from uow.acts.noted import counts, entry
from uow.client import TaskClient
from uow.db import acts, audit
from uow.db.failures import PASSING, sqlstate
from uow.tasks.interventions import BATCH, DEADLOCK, TAKEN, Filter


class MatchingRetry:
    """One retry of all tasks that a filter means.

    Args:
        client: An open client.
    """

    def __init__(self, client: TaskClient, which: Filter, by: Actor) -> None:
        self._db = client.db
        self._following = ActFollowing.of(client)
        self._which = which
        self._by = by
        self._number: int | None = None
        self._done = 0

    async def run(self) -> int:
        """Run them again, the oldest first; returns how many do.

        Each batch is a transaction, with how far it is in the audit. Left alone is a task whose
        unique key another has.
        """
        ids = await self._which.find(self._db)
        for at in range(0, len(ids), BATCH):
            await self._retry(ids[at : at + BATCH])
        return self._done

    async def _retry(self, ids: Sequence[UUID]) -> None:
        """Halve it on a race for a key, so that only the task whose key was taken stays behind."""
        try:
            await self._commit(ids)
        except PASSING as error:
            state = sqlstate(error)
            if state == TAKEN and len(ids) == 1:
                return
            if state not in (TAKEN, DEADLOCK) or len(ids) == 1:
                raise
            middle = len(ids) // 2
            await self._retry(ids[:middle])
            await self._retry(ids[middle:])

    async def _commit(self, ids: Sequence[UUID]) -> None:
        act = RetryAct()
        async with self._db.transaction() as transaction:
            await acts.go_by_key(transaction)
            done = await act.do(transaction, ids)
            number, count = self._number, self._done + len(done.ids)
            if number is not None:
                await audit.count(transaction, number, counts(count, {}))
            elif count:
                noted = entry(act, self._by, filter=self._words(), done=counts(count, {}))
                number = await audit.note(transaction, noted)
        self._number, self._done = number, count
        await act.follow(done, self._following)

    def _words(self) -> dict[str, str]:
        """The filter, in the words of lists."""
        which = self._which
        states = {"both": "failed,cancelled", None: "failed"}
        before = which.settled_before
        words = {
            "state": states.get(which.state, which.state), "name": which.name,
            "queue": which.queue, "user": which.user_id,
            "settled-until": None if before is None else before.isoformat(),
            "limit": None if which.limit is None else str(which.limit),
        }  # fmt: skip
        return {word: value for word, value in words.items() if value is not None}
