"""Does the faults of a plan to a fleet and its servers, each at its time."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from uow.broker.redis import connect
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.proofs.chaos.fleet import Fleet
from uow.proofs.chaos.plan import Done, FaultKind, PlannedFault


class Faults:
    """Whatever can go wrong. Faults overlap, but one server has one trouble at a time.

    Args:
        note: Told what happens.

    Attributes:
        done: How many of each kind were done.
    """

    def __init__(
        self,
        fleet: Fleet,
        postgres: EmbeddedPostgres,
        redis: EmbeddedRedis,
        note: Callable[[str], None],
    ) -> None:
        self.done = Done()
        self._fleet = fleet
        self._postgres = postgres
        self._redis = redis
        self._note = note
        self._postgres_trouble = asyncio.Lock()
        self._redis_trouble = asyncio.Lock()

    async def run(self, faults: list[PlannedFault]) -> None:
        """Do all of them; returns when the last is over and every server is back."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(began + fault.at - loop.time())
                group.create_task(self.do(fault))

    async def do(self, fault: PlannedFault) -> None:
        """Do one fault; returns when it is over."""
        self._note(str(fault))
        match fault.kind:
            case FaultKind.KILL:
                await self._fleet.kill(fault.worker)
            case FaultKind.STOP:
                await self._fleet.freeze(fault.worker, fault.seconds)
            case FaultKind.REDIS_KILL | FaultKind.REDIS_FLUSH:
                async with self._redis_trouble:
                    await self._lose_redis(fault)
            case FaultKind.POSTGRES_CRASH | FaultKind.POSTGRES_RESTART:
                async with self._postgres_trouble:
                    await self._lose_postgres(fault)
        self.done[fault.kind] += 1

    async def _lose_redis(self, fault: PlannedFault) -> None:
        if fault.kind is FaultKind.REDIS_FLUSH:
            async with contextlib.aclosing(connect(self._redis.url)) as client:
                await client.flushall()
            return
        await _in_thread(self._redis.kill9)
        await asyncio.sleep(fault.seconds)
        await _in_thread(partial(self._redis.restart, lose_data=True))
        self._note("redis is back, empty")

    async def _lose_postgres(self, fault: PlannedFault) -> None:
        if fault.kind is FaultKind.POSTGRES_CRASH:
            await _in_thread(self._postgres.kill9)
            await asyncio.sleep(fault.seconds)
        await _in_thread(self._postgres.restart)
        self._note("postgres is back")


async def _in_thread(work: Callable[[], None]) -> None:
    """As `asyncio.to_thread`, but whoever cancels gets the server only when the thread is done."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.gather(working, return_exceptions=True)
        raise
