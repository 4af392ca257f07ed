"""Finishes jobs in batches: one call of Redis for many.

What could not be finished, because Redis is away, stays here and its lease is kept. The buffer is
bounded by whoever claims: nothing is claimed while it is full. What Redis refuses for good is said
and dropped: its lease runs out, and its row knows whether it has been done.
"""

import asyncio
import logging
from collections.abc import Callable

from redis.exceptions import ConnectionError as RedisConnectionError

from uow.broker.claims import BATCH, RETURNS, Finish, finish
from uow.broker.redis import AWAY
from uow.broker.refusals import is_refusal
from uow.broker.scripts import Call
from uow.errors import SettingsError
from uow.fast import company
from uow.service import Service
from uow.telemetry.subject import fields_of

logger = logging.getLogger(__name__)

LIMIT = 10 * BATCH
"""Unfinished jobs from which on nothing more is claimed."""

BREAKS = 3
"""What has ended so many connections, while Redis takes others, is too large for it or the like."""

REFUSALS_IN_A_ROW = 100
"""If Redis refuses so many and takes none in between, it is not they who are to blame."""


class Finisher(Service):
    """Collects what is to be finished.

    Args:
        on_finished: Called when Redis has done it, or has said that the job is another's by now.
        is_busy: Whether more is likely to end in a moment.
        on_death: Called when Redis refuses everything.
    """

    passing = AWAY

    def __init__(
        self,
        call: Call,
        on_finished: Callable[[Finish], None],
        is_busy: Callable[[], bool],
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(60.0, on_death)
        self._refusals = 0
        self._is_busy = is_busy
        self._call = call
        self._on_finished = on_finished
        self._buffer: list[Finish] = []
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._sending = asyncio.Lock()

    @property
    def is_full(self) -> bool:
        """Whether no more should be claimed for now."""
        return len(self._buffer) >= LIMIT

    def put(self, one: Finish) -> None:
        """Finish a job soon."""
        self._buffer.append(one)
        self.wake()

    async def finished(self, one: Finish) -> None:
        """Finish a job and return when Redis has done it."""
        done = self._waiting[_claim_of(one)] = asyncio.get_running_loop().create_future()
        self.put(one)
        await done

    def give_up(self) -> None:
        """Redis is away, and the worker is to end: who waits for it is cancelled."""
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()

    async def run_once(self) -> None:
        """Finish everything that is there."""
        if not any(one.action in RETURNS for one in self._buffer):
            await asyncio.sleep(0)  # a claim goes first: slots wait for its jobs
            await company.expected(self._is_busy)
        async with self._sending:
            while batch := self._buffer[:BATCH]:
                await self._finish(batch)

    async def _finish(self, batch: list[Finish]) -> None:
        """Finish what stands first; if that cannot be, its halves, until the offender is left."""
        answer = await self._answer_to(batch)
        if isinstance(answer, Exception) and len(batch) > 1:
            middle = len(batch) // 2
            await self._finish(batch[:middle])
            await self._finish(batch[middle:])
            return
        if isinstance(answer, Exception):
            answer = [], {_shown(batch[0].job_id): str(answer)}
        lost, refused = answer
        for job_id in lost:
            logger.warning("job %s was taken over before it was finished here", _shown(job_id),
                           extra=fields_of(job_id=_shown(job_id)))  # fmt: skip
        self._drop(batch)
        self._note(refused, len(batch))

    async def _answer_to(
        self, batch: list[Finish]
    ) -> tuple[list[bytes], dict[str, str]] | Exception:
        """What Redis says to it; an error, if it is the batch that is to blame.

        Raises:
            RedisError, OSError: Redis is away.
        """
        for _ in range(BREAKS):
            try:
                return await finish(self._call, batch)
            except AWAY as error:
                if is_refusal(error):
                    return error
                if not isinstance(error, RedisConnectionError):
                    raise
                broken = error
            await self._call("missing", ["arq:queue"], [])  # raises if Redis is away
        return broken

    def _drop(self, batch: list[Finish]) -> None:
        del self._buffer[: len(batch)]
        for one in batch:
            self._on_finished(one)
            if (waiting := self._waiting.pop(_claim_of(one), None)) and not waiting.done():
                waiting.set_result(None)

    def _note(self, refused: dict[str, str], of: int) -> None:
        for job_id, reason in refused.items():
            logger.error("job %s: Redis refuses to finish it as it should be: %s", job_id, reason,
                         extra=fields_of(job_id=job_id))  # fmt: skip
        self._refusals = 0 if len(refused) < of else self._refusals + of
        if (refusals := self._refusals) >= REFUSALS_IN_A_ROW:
            self._refusals = 0
            raise SettingsError(
                f"Redis has refused to finish {refusals} jobs in a row: look at the rights of its "
                "user"
            )


def _shown(job_id: str | bytes) -> str:
    """An id as a person writes it; a queue may hold what is no text."""
    return job_id if isinstance(job_id, str) else job_id.decode(errors="backslashreplace")


def _claim_of(one: Finish) -> str:
    """Which claim it ends: a job that is run again may be finished again before we have heard."""
    return f"{one.token} {one.job_id!r}"
