"""`with` and `async with` for whatever has `start` and `stop`."""

import asyncio
from abc import ABC, abstractmethod
from typing import Self


class StartStop(ABC):
    """Started on entry, stopped on exit; from a coroutine both happen in a thread."""

    @abstractmethod
    def start(self) -> None:
        """Start, unless it runs; blocks."""

    @abstractmethod
    def stop(self) -> None:
        """Stop, if it runs; blocks."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be cancelled: what it starts would have nobody to stop it.
            await asyncio.gather(starting, return_exceptions=True)
            await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)
