"""The heart beats while the event loop is blocked, says so, and stops when the loop is dead."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator

import pytest

from uow.process.heart import REPORT_SECONDS, TICK_SECONDS, Heart
from uow.service import Service


class Beat(Service):
    """Counts, and remembers on which thread."""

    def __init__(self) -> None:
        super().__init__(interval=0.02)
        self.count = 0
        self.thread = 0

    async def run_once(self) -> None:
        self.count += 1
        self.thread = threading.get_ident()


@pytest.fixture
async def heart() -> AsyncIterator[Heart]:
    made = Heart(3.0, lambda task: "nobody" if task is None else f"task {task.get_name()}")
    await made.begin()
    yield made
    await made.end()


def block(seconds: float) -> None:
    time.sleep(seconds)


async def test_services_go_on_while_the_loop_is_blocked(heart: Heart) -> None:
    beat = Beat()
    stop = await heart.keep(beat)
    before = beat.count
    block(0.5)
    assert beat.count > before + 5
    assert beat.thread not in (0, threading.get_ident())
    await stop()
    stopped_at = beat.count
    block(0.1)
    assert beat.count == stopped_at


async def test_a_blocked_loop_is_reported_once_with_task_and_place(
    heart: Heart, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "uow.process.heart")

    async def selfish() -> None:
        block(REPORT_SECONDS * 2 + TICK_SECONDS + 0.2)

    await asyncio.create_task(selfish(), name="selfish")
    async with asyncio.timeout(5):
        while not any("turns again" in message for message in caplog.messages):
            await asyncio.sleep(0.01)
    blocked, over = caplog.messages
    assert "blocked by task selfish in block (" in blocked
    assert f"{__file__}:" in blocked
    assert "was blocked for 2." in over


async def test_services_are_left_out_when_the_loop_is_dead_and_go_on_when_it_is_not() -> None:
    heart = Heart(0.2, str)
    await heart.begin()
    beat = Beat()
    stop = await heart.keep(beat)
    block(TICK_SECONDS + 0.5)
    dead_at = beat.count
    block(0.3)
    assert beat.count == dead_at
    assert heart.is_stalled()
    async with asyncio.timeout(5):
        while beat.count == dead_at:
            await asyncio.sleep(0.01)
    await stop()
    await heart.end()
