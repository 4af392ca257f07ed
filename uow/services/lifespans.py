"""Enters the users' lifespans when a worker process starts, and leaves them when it ends.

All of them live in one asyncio task. A worker starts in one task and stops in another, and what a
lifespan has entered (a task group, a context variable) must be left where it was entered.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import cast, get_type_hints

from uow.errors import LifespanFailed, WorkerDied
from uow.tasks.context import Lifespan, ProcessContext, TaskContext
from uow.user_code import described, whereabouts

logger = logging.getLogger(__name__)

LEAVING_SECONDS = 5.0
"""So long they may take to be left, all together; and the part of the grace that is theirs."""

LAST_CHANCE_SECONDS = 0.5
"""So long one may go on that was interrupted."""

LifespanGenerator = AsyncGenerator[Mapping[str, object] | None, None]

_OURS = frozenset(get_type_hints(TaskContext))


class Lifespans:
    """Those of one worker process.

    Args:
        lifespans: In the order in which they are entered.
        seconds: That each may take to be entered.
        seconds_to_leave: Says how many they may take to be left, all together.
        on_death: Called when something in one of them has interrupted them all: its resources may
            be gone.
    """

    def __init__(
        self,
        lifespans: Sequence[Lifespan],
        seconds: float,
        seconds_to_leave: Callable[[], float] = lambda: LEAVING_SECONDS,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._lifespans = lifespans
        self._seconds = seconds
        self._seconds_to_leave = seconds_to_leave
        self._on_death = on_death
        self._is_given_up = False
        self._given: dict[str, object] = {}
        self._stopping = asyncio.Event()
        self._living: asyncio.Task[None] | None = None
        self._entering: asyncio.Future[None] | None = None

    async def enter(self, ctx: ProcessContext) -> None:
        """Enter all of them; what they yield is in `ctx` from then on.

        Raises:
            LifespanFailed: One has failed, or took too long, or yields what it may not; those
                before it are left.
        """
        if not self._lifespans:
            return
        self._entering = asyncio.get_running_loop().create_future()
        self._living = asyncio.create_task(self._live(ctx, self._entering), name="uow.lifespans")
        await self._entering

    async def leave(self, ctx: ProcessContext) -> None:
        """Leave them, the last one first; what cannot be left in time is given up."""
        self._stopping.set()
        if self._living is None or self._entering is None:
            return
        if self._entering.cancelled() or self._is_given_up:  # the start itself was interrupted
            self._living.cancel()
        await _ended(self._living, 0.0 if self._is_given_up else self._seconds_to_leave())
        for key in self._given:
            ctx.pop(key, None)

    async def _live(self, ctx: ProcessContext, entering: "asyncio.Future[None]") -> None:
        begun: list[tuple[Lifespan, LifespanGenerator]] = []
        try:
            for lifespan in self._lifespans:
                begun.append((lifespan, cast("LifespanGenerator", lifespan(ctx))))
                self._take(lifespan, await self._entered(*begun[-1]), ctx)
            if not entering.done():
                entering.set_result(None)
            await self._stopped()
        except LifespanFailed as error:
            if not entering.done():
                entering.set_exception(error)
        finally:
            for one in reversed(begun):
                await _left(*one)

    async def _stopped(self) -> None:
        """Return when they are to be left.

        A task group that one of them has entered interrupts us when a task of it fails.
        """
        try:
            await self._stopping.wait()
        except asyncio.CancelledError:
            if self._on_death is None or self._stopping.is_set():
                raise
            names = ", ".join(whereabouts(one) for one in self._lifespans)
            self._on_death(
                WorkerDied(f"something that a lifespan has begun has ended by an error ({names})")
            )
            await self._stopping.wait()  # what runs may still use what the others have

    async def _entered(self, lifespan: Lifespan, generator: LifespanGenerator) -> object:
        """What it yields."""
        where = f"lifespan {whereabouts(lifespan)}"
        try:
            with self._given_up_on(where):
                async with asyncio.timeout(self._seconds) as limit:
                    return await anext(generator)
        except StopAsyncIteration:
            raise LifespanFailed(f"{where} has not yielded: let it yield once") from None
        except BaseException as error:
            if limit.expired():
                raise self._late(where) from error
            raise LifespanFailed(f"{where} has failed: {described(error)}") from error

    @contextlib.contextmanager
    def _given_up_on(self, where: str) -> Iterator[None]:
        """End the start without it, should it swallow the interruption, too."""
        loop, seconds = asyncio.get_running_loop(), self._seconds + LAST_CHANCE_SECONDS
        giving_up = loop.call_later(seconds, self._give_up, where)
        try:
            yield
        finally:
            giving_up.cancel()

    def _give_up(self, where: str) -> None:
        if self._entering is not None and not self._entering.done():
            self._is_given_up = True
            self._entering.set_exception(self._late(where))

    def _late(self, where: str) -> LifespanFailed:
        within = f"{self._seconds:g} s (WORKER_CONNECT_TIMEOUT)"
        return LifespanFailed(f"{where} was not entered within {within}")

    def _take(self, lifespan: Lifespan, given: object, ctx: ProcessContext) -> None:
        """Put what a lifespan yields into the context."""
        where = f"lifespan {whereabouts(lifespan)}"
        if given is None:
            return
        if not isinstance(given, Mapping):
            raise LifespanFailed(f"{where} yields {type(given).__name__}, and not a dict")
        for key in given:
            if not isinstance(key, str):
                raise LifespanFailed(f"{where} yields the key {key!r}, which is no text")
            if key in _OURS:
                raise LifespanFailed(f"{where} yields {key!r}, which is a key of the worker's own")
            if key in self._given:
                raise LifespanFailed(f"{where} yields {key!r}, which another lifespan has yielded")
        self._given.update(given)
        ctx.update(given)


async def _left(lifespan: Lifespan, generator: LifespanGenerator) -> None:
    """Leave one; whatever comes of it, the others are left, too."""
    where = f"lifespan {whereabouts(lifespan)}"
    try:
        await anext(generator)
    except StopAsyncIteration:
        return
    except asyncio.CancelledError:
        logger.error("%s was not left in time", where)  # noqa: TRY400 - a cancellation
        return
    except BaseException:
        logger.exception("%s has failed when it was left", where)
        return
    logger.error("%s yields twice: what comes after its second yield does not run", where)
    with contextlib.suppress(Exception):
        await generator.aclose()


async def _ended(living: "asyncio.Task[None]", seconds: float) -> None:
    for patience in (seconds, LAST_CHANCE_SECONDS):
        if (await asyncio.wait([living], timeout=patience))[0]:
            return
        living.cancel()
    logger.error("a lifespan does not end, though it was interrupted; it is left as it is")
