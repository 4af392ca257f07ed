"""Threads and processes that are kept for whoever needs one next, for they cost something."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NotCalled(Exception):
    """There was no place for a function where it runs, so that it was not called."""


class Kept(Generic[T]):
    """Made when there is none, up to a number; for one event loop.

    Args:
        most: How many there are at once.
        make: Makes one.
        end: Called with one that is not needed any more.
    """

    def __init__(self, most: int, make: Callable[[], T], end: Callable[[T], object]) -> None:
        self._most = most
        self._make = make
        self._end = end
        self._idle: list[T] = []
        self._there = 0
        self._waiting: deque[asyncio.Future[T | None]] = deque()
        self._is_closed = False

    async def take(self, *, waits: bool = True) -> T:
        """One that nobody uses, as soon as there is one.

        Args:
            waits: False: one beyond the number is made, if it must be.

        Raises:
            NotCalled: None can be made.
        """
        if self._idle:
            return self._idle.pop()  # the one that was used last
        while waits and self._there >= self._most:
            found = await self._next()
            if found is not None:
                return found
        return await self._made() if waits and self._there else self._new()

    def put(self, one: T) -> None:
        """It was taken, and is free again."""
        if self._offer(one):
            return
        if self._is_closed or self._there > self._most:
            self._there -= 1
            self._end(one)
        else:
            self._idle.append(one)

    def lose(self) -> None:
        """One that was taken is no more."""
        self._there -= 1
        self._offer(None)

    def close(self) -> None:
        """End those that nobody uses, and the others as soon as they are free."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        self._there -= len(idle)
        for one in idle:
            self._end(one)

    async def _made(self) -> T:
        try:
            return self._new()
        except NotCalled:  # there are some: one of them will be free
            found = await self._next()
            return self._new() if found is None else found

    def _new(self) -> T:
        try:
            made = self._make()
        except (RuntimeError, OSError) as error:  # this process may have no more
            raise NotCalled(f"there is no place to call it in: {error}") from error
        self._there += 1
        return made

    async def _next(self) -> T | None:
        """The next one that is free; None: there is room for another."""
        turn: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on(turn.result())
            raise

    def _pass_on(self, one: T | None) -> None:
        if one is not None:
            self.put(one)
        else:
            self._offer(None)

    def _offer(self, one: T | None) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(one)
                return True
        return False
