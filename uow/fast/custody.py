"""What a worker has open between its start and its close: it claims, keeps and finishes jobs.

claimer ─▶ hold ─▶ (a slot) ─▶ finish ─▶ finisher
             └──── leases, on the heart's thread ────┘
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arq.connections import ArqRedis

from uow.attempt.running import Held, Running
from uow.broker.claims import NO_RESULT, RETURNS, Claimed, Finish, back_to
from uow.broker.redis import AWAY, apart, have_connection
from uow.broker.scripts import caller
from uow.broker.wakeup import WatchedConnection
from uow.fast.claimer import Claimer
from uow.fast.finisher import Finisher
from uow.fast.intake import Intake
from uow.fast.leases import TokenLeases
from uow.process.heart import Heart

logger = logging.getLogger(__name__)

AFTER_ERROR_MS = 1000
"""How long a job waits that has met an error of the worker's own."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a worker is to claim.

    Attributes:
        name: The process's, in its leases and in the fleet.
        queues: Names with weights: how often each is served first, in proportion.
        lease_seconds: A killed worker's jobs start again within this.
        stall_limit: Seconds after which a blocked event loop counts as dead.
        signals: Whether the process's signals are the worker's, too.
    """

    name: str
    queues: Mapping[str, float]
    lease_seconds: float
    stall_limit: float
    signals: bool


class Claims:
    """Whether jobs may be claimed.

    Args:
        on_change: Called when that has changed.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._claiming = True

    @property
    def claiming(self) -> bool:
        """Set from any thread."""
        return self._claiming

    @claiming.setter
    def claiming(self, allowed: bool) -> None:
        self._claiming = allowed
        self._on_change()


class Custody:
    """Claims, leases and finishes, with connections of their own; all there when it is made.

    Args:
        pool: Says where Redis is.
        is_busy: Whether more jobs are likely to end in a moment.
        on_death: Called when the process cannot go on.
    """

    def __init__(
        self,
        terms: Terms,
        pool: ArqRedis,
        running: Running,
        claims: Claims,
        intake: Intake,
        is_busy: Callable[[], bool],
        on_death: Callable[[BaseException], None] | None,
    ) -> None:
        self.name, self.queues = terms.name, list(terms.queues)
        self.running, self.claims = running, claims
        self.heart = Heart(terms.stall_limit, running.describe, signals=terms.signals)
        self.heart.on_death = on_death
        self._redis, self._beats = apart(pool), apart(pool)
        self._intake = intake
        self.watched = WatchedConnection(self._redis, terms.queues, intake.wake)
        call, call_soon = self.watched.run, asyncio.get_running_loop().call_soon_threadsafe
        self.leases = TokenLeases(running, caller(self._beats), terms.lease_seconds, call_soon)
        self.finisher = Finisher(call, self._was_finished, is_busy, intake.end)
        self.claimer = Claimer(call, terms.queues, terms.lease_seconds, terms.name, self._give_back)
        self._stack = contextlib.AsyncExitStack()

    async def open(self) -> None:
        """Start its services; none of them, if one fails."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        stack, heart = self._stack, self.heart
        stack.push_async_callback(self._redis.aclose)
        stack.push_async_callback(heart.end)
        stack.push_async_callback(self.watched.stop)
        await self.watched.start()
        await heart.begin()
        stack.push_async_callback(lambda: heart.run(self._beats.aclose()))
        await heart.run(have_connection(self._beats))
        stack.push_async_callback(await heart.keep(self.leases))
        await self.finisher.start()
        stack.push_async_callback(self.finisher.stop)

    async def close(self) -> None:
        """Stop what was started; the jobs have ended."""
        await self._stack.aclose()

    def hold(self, claimed: Claimed) -> Held | None:
        """Hold a claimed job; None: it runs here already, or is none."""
        try:
            return self.leases.hold(claimed)
        except UnicodeDecodeError:
            logger.warning("the queue has an entry that is no job id: %r", claimed.job_id)
            one = Finish(claimed.queue, claimed.job_id, claimed.token, "done", NO_RESULT)
            self.finisher.put(one)
            return None

    def finish(self, held: Held, finish: Finish) -> None:
        """Let Redis do what is to become of a job; its slot is free before that."""
        held.ends = True
        self.finisher.put(finish)

    def put_back(self, held: Held, is_stopped: bool) -> None:
        """Put a job back that nobody has finished; a start that counts bounds how often."""
        number = held.place if is_stopped else AFTER_ERROR_MS
        self.finish(held, held.finish("unrun" if is_stopped else "again", number, held.payload))

    async def flush(self) -> bool:
        """Finish what has ended; False while Redis is away."""
        with contextlib.suppress(*AWAY):
            await self.finisher.run_once()
            return True
        return False

    def _give_back(self, one: Claimed) -> None:
        back = back_to(one.score)
        self.finisher.put(
            Finish(one.queue, one.job_id, one.token, "unrun", back, one.payload or b"")
        )

    def _was_finished(self, one: Finish) -> None:
        self.leases.let_go(one)
        if one.action in RETURNS:
            self._intake.wake()  # it may be due before what we wait for, and nobody else tells us
