"""What is called after a COMMIT, and only after it: `ctx["task"].on_commit(callback)`.

A block has its callbacks to itself until it commits: what is undone with it, or by a rollback in
it, is not called. In a unit of work they wait for the attempt's COMMIT from then on; a block that
is a transaction of its own calls them at once.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Self

from uow.errors import AttemptOver
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

Callback = Callable[[], object]
"""Is awaited if what it returns is awaitable."""


class AfterCommit:
    """The callbacks of one attempt, in the order in which they were given.

    Args:
        task: Whose attempt it is, for the log: its name and its id.
    """

    def __init__(self, *task: object) -> None:
        self._task = task
        self._waiting: list[Callback] = []
        self._is_over = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, callback: Callback) -> None:
        """Call `callback` after the COMMIT of the block that the caller is in, or else the attempt.

        Raises:
            AttemptOver: The attempt has ended.
        """
        if self._is_over:
            raise AttemptOver("on_commit was called after the attempt had ended: nobody would call")
        block = _block.get()
        (self if block is None or not block.takes_for(self) else block).keep(callback)

    def keep(self, *callbacks: Callback) -> None:
        """From now on they wait for the attempt's COMMIT."""
        self._waiting += callbacks

    def end(self) -> None:
        """The function has returned: refuse whoever comes from now on."""
        self._is_over = True

    async def call_all(self, seconds: float) -> None:
        """Call them all, after the attempt's COMMIT; whatever becomes of that is logged.

        Args:
            seconds: That they may take together.
        """
        callbacks, self._waiting = self._waiting, []
        try:
            async with asyncio.timeout(seconds):
                await self.call(callbacks)
        except TimeoutError:
            self._log(f"what was to be called after its commit took longer than {seconds:g} s")
        except asyncio.CancelledError:  # the attempt has ended well, and so it is answered
            self._log("what was to be called after its commit was interrupted")

    async def call(self, callbacks: list[Callback]) -> None:
        """Call these; an error of one is logged.

        Raises:
            asyncio.CancelledError: From outside: the rest is not called.
        """
        for callback in callbacks:
            before = _cancelling()
            try:
                answer = callback()
                if inspect.isawaitable(answer):
                    await answer
            except GeneratorExit:  # the attempt itself is thrown away
                raise
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and _cancelling() > before:
                    raise
                name = getattr(callback, "__qualname__", type(callback).__name__)
                self._log(f"{name}, called after its commit, failed: {one_line(error)}", error)

    def _log(self, what: str, error: BaseException | None = None) -> None:
        task = " ".join(map(str, self._task))
        logger.error("%s: %s; what is committed stays", task, what, exc_info=error)


class Block:
    """The callbacks that were given in one block and wait."""

    def __init__(self, attempts: AfterCommit) -> None:
        self._attempts = attempts
        self._waiting: list[Callback] = []
        self._committed = 0  # so many of them no rollback undoes any more
        self._outer: Block | None = None
        self._is_open = False

    def __enter__(self) -> Self:
        self._outer = _block.get()
        self._is_open = True
        _block.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._is_open = False
        _block.set(self._outer)
        if kind is None:  # given by a callback of this block
            self.join()

    @property
    def has_callbacks(self) -> bool:
        """Whether any wait."""
        return bool(self._waiting)

    def takes_for(self, attempts: AfterCommit) -> bool:
        """Whether it is a block of that attempt, and open."""
        return self._is_open and self._attempts is attempts

    def keep(self, callback: Callback) -> None:
        """It waits for this block's commit."""
        self._waiting.append(callback)

    def join(self) -> None:
        """The block has joined the attempt's transaction."""
        if self._waiting:
            self._attempts.keep(*self._taken())

    def committed(self) -> None:
        """The block's own transaction has committed, and they are to be called."""
        self._committed = len(self._waiting)

    def undone(self) -> None:
        """What the block has done since its last commit was rolled back: nothing waits for it."""
        del self._waiting[self._committed :]

    async def call(self) -> None:
        """Call them, after the commit."""
        if self._waiting:
            await self._attempts.call(self._taken())

    def _taken(self) -> list[Callback]:
        taken, self._waiting, self._committed = self._waiting, [], 0
        return taken


def _cancelling() -> int:
    """How often the current asyncio task was cancelled; not 0 at first, if its function had a group
    that failed (before Python 3.13)."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


_block: ContextVar[Block | None] = ContextVar("_block", default=None)
