"""Waiting for company: one call of a server for many jobs costs little more than for one."""

import asyncio
from collections.abc import Callable

TURNS = 5
"""How many turns of the event loop something waits. Those of a loop that has nothing else to do
take microseconds, those of a busy one milliseconds: a job waits no longer than it would anyway."""


async def expected(more: Callable[[], bool]) -> None:
    """Return when no `more` is to be expected, or after `TURNS`."""
    for _ in range(TURNS):
        if not more():
            return
        await asyncio.sleep(0)
