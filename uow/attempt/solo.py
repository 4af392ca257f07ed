"""Lets a suspect run alone in its process.

A task under which processes died takes its neighbours with it. Run alone, it can only be blamed
itself. Every attempt enters before it starts; a suspect then waits until it is the only one, and
nobody enters meanwhile: whoever comes goes back into its queue, for another process, and this one
claims nothing. Neighbours may be long: so the suspect waits for a limited time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

import arq

LONGEST_PATIENCE = 1800.0
"""Seconds that a suspect waits for its neighbours at most."""

LINGER_SECONDS = 60.0
"""So long a thread that a suspect has left behind keeps the others out at most: one that never
returns is not to stop the process."""


class NotAlone(Exception):
    """The neighbours did not end in time, or another suspect was first."""


class Occupied(arq.Retry):
    """A suspect is alone here, or about to be: the job is to be delivered to somebody else."""


class Solo:
    """How many attempts are inside, and whether one of them wants to be alone.

    Attributes:
        on_free: Called when the one that was alone, or wanted to be, does not any more.
    """

    def __init__(self) -> None:
        self.on_free: Callable[[], object] = _nobody
        self._inside = self._behind = 0
        self._reserved = self._is_alone = False
        self._lingering: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    @property
    def is_reserved(self) -> bool:
        """Whether somebody is alone, or about to be, so that nothing should be claimed."""
        return self._reserved

    def enter(self, attempts: int = 1) -> None:
        """Let so many attempts in.

        Raises:
            Occupied: Somebody is alone, or about to be.
        """
        if self._reserved:
            raise Occupied
        self._inside += attempts

    def stay(self) -> None:
        """Count one more inside: what an attempt has left behind."""
        self._inside += 1
        self._behind += 1

    def has_ended(self) -> None:
        """What an attempt has left behind is out."""
        self._behind -= 1
        self.leave()
        if self._lingering is not None and not self._behind:
            self._lingering.cancel()
            self._release()

    def leave(self) -> None:
        """One attempt is out."""
        self._inside -= 1
        if self._reserved:
            self._changed.set()

    def entered(self) -> "Seat":
        """Let an attempt in; what is returned is left at the end of a ``with`` block, or before.

        Raises:
            Occupied: As `enter`.
        """
        self.enter()
        return Seat(self)

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """Let nobody else in while the block runs; for an attempt that has entered.

        What it leaves behind may still take the process with it: so it lasts until that has ended,
        too, for `LINGER_SECONDS` at most.

        Raises:
            NotAlone: Another suspect was first.
        """
        if self._reserved:
            raise NotAlone("another suspect runs, or waits to run, alone in it")
        self._reserved = True
        try:
            yield
        finally:
            if self._is_alone and self._behind:
                loop = asyncio.get_running_loop()
                self._lingering = loop.call_later(LINGER_SECONDS, self._release)
            else:
                self._release()

    def _release(self) -> None:
        self._reserved = self._is_alone = False
        self._lingering = None
        self.on_free()

    async def emptied(self, patience: float) -> None:
        """Return when the one that has reserved is the only one inside.

        Raises:
            NotAlone: The neighbours did not end within `patience` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                while self._inside > 1:
                    await self._next_change()
        except TimeoutError:
            raise NotAlone(f"its neighbours did not end within {patience:g} s") from None
        self._is_alone = True

    @contextlib.asynccontextmanager
    async def alone(self, patience: float) -> AsyncIterator[None]:
        """`reserved` and `emptied` in one.

        Raises:
            NotAlone: As these.
        """
        with self.reserved():
            await self.emptied(patience)
            yield

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Seat:
    """An attempt's seat inside; given up once, by whoever comes first to do it."""

    def __init__(self, solo: Solo) -> None:
        self._solo = solo
        self._is_left = False

    def leave(self, *_: object) -> None:
        """The attempt is out."""
        if not self._is_left:
            self._is_left = True
            self._solo.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def patience_of(wait: int) -> float:
    """Seconds that the `wait`-th wait of a suspect for its neighbours lasts.

    Doubled each time, so that long neighbours do not keep it from running for ever.
    """
    return min(2.0 ** min(wait, 16), LONGEST_PATIENCE)


def _nobody() -> None:
    pass
