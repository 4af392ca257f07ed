"""A job function that a test lets through."""

import asyncio
from collections import Counter
from typing import Any

from arq.worker import func

from tests.integration.arq.conftest import Context, until


class Gate:
    """A job function that says which jobs are inside, and lets them out."""

    def __init__(self) -> None:
        self.inside, self.opened = Counter[str](), asyncio.Event()
        self.tries: list[int] = []

    async def enter(self, ctx: Context) -> str:
        self.inside[ctx["job_id"]] += 1
        self.tries.append(ctx["job_try"])
        await self.opened.wait()
        return "through"

    async def holds(self, number: int) -> None:
        async def are_inside() -> bool:
            return len(self.inside) >= number

        await until(are_inside, 20)

    @property
    def function(self) -> Any:
        return func(self.enter, name="enter")
