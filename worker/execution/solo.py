"""Lets a suspect run alone in its process.

A task under which processes died takes its neighbours with it. Run alone, it can only be blamed
itself. Every attempt enters before it starts; a suspect then waits until it is the only one, and
nobody enters meanwhile. Neighbours may be long: so the suspect waits for a limited time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

LONGEST_PATIENCE = 1800.0
"""Seconds that a suspect waits for its neighbours at most."""


class Solo:
    """How many attempts are inside, and whether one of them wants to be alone."""

    def __init__(self) -> None:
        self._inside = 0
        self._reserved = False
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Be inside while the block runs; waits while somebody is alone, or about to be."""
        if self._reserved:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._reserved)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if self._reserved:
                await self._tell()

    @contextlib.asynccontextmanager
    async def alone(self, patience: float) -> AsyncIterator[None]:
        """Be the only one inside while the block runs; for an attempt that has entered.

        Raises:
            TimeoutError: The neighbours did not end within `patience` seconds, or another suspect
                was first.
        """
        if self._reserved:
            raise TimeoutError("another suspect runs, or waits to run, alone in this process")
        self._reserved = True
        try:
            async with asyncio.timeout(patience), self._changed:
                await self._changed.wait_for(lambda: self._inside == 1)
            yield
        finally:
            self._reserved = False
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def patience_of(attempt: int) -> float:
    """Seconds that the `attempt`-th attempt of a suspect waits for its neighbours.

    Doubled each time, so that long neighbours do not keep it from running for ever.
    """
    return min(2.0 ** min(attempt, 16), LONGEST_PATIENCE)
