"""Kept threads, and who counts those that go on."""

import asyncio
import threading
import time
from typing import Any

import pytest

from uow.attempt.in_thread import InThreads
from uow.attempt.solo import Solo
from uow.process.bridge import AttemptOverInThread, Bridge
from uow.process.kept import Kept, NotCalled
from uow.process.threads import Threads
from uow.tasks.context import RunningTask

NOBODY: Any = None

TASK = RunningTask(
    db=NOBODY, id=None, name="t", attempt=1, tries=0, user_id=None, queue="q", idempotency_key="k"
)


async def until_none_goes_on(calls: InThreads) -> None:
    async with asyncio.timeout(10):
        while calls.outliving:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("turns", range(6))
async def test_a_call_that_is_cancelled_as_it_returns_is_not_counted_for_ever(turns: int) -> None:
    calls = InThreads(Threads(2), Solo())
    for _ in range(100):
        running = asyncio.create_task(calls.run(lambda: time.sleep(0), TASK))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
    await until_none_goes_on(calls)
    calls.close()


async def test_threads_are_used_again_and_no_more_than_there_may_be() -> None:
    threads, seen = Threads(2), set[int]()
    gate = threading.Event()

    def note() -> None:
        seen.add(threading.get_ident())
        gate.wait(10)

    first = [await threads.begin(note) for _ in range(2)]
    third = asyncio.create_task(threads.begin(note))
    await asyncio.sleep(0)
    assert not third.done()
    gate.set()
    for call in (*first, await third):
        await call.ended
    assert len(seen) == 2
    threads.close()


async def test_who_waits_is_served_when_one_is_lost_and_who_has_left_is_passed_over() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    kept = Kept(1, make, lambda _: None)
    assert await kept.take() == 0
    left, waits = (asyncio.create_task(kept.take()) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    kept.lose()
    assert await asyncio.wait_for(waits, 5) == 1
    kept.put(1)
    assert await kept.take() == 1


async def test_what_cannot_be_made_is_told() -> None:
    def make() -> int:
        raise RuntimeError("can't start new thread")

    with pytest.raises(NotCalled, match="can't start new thread"):
        await Kept(1, make, lambda _: None).take()


async def test_a_bridge_whose_loop_is_closed_refuses() -> None:
    loop = asyncio.new_event_loop()
    bridge = Bridge(loop)
    loop.close()

    async def nothing() -> None: ...

    with pytest.raises(AttemptOverInThread):
        await asyncio.to_thread(bridge.run, nothing)


async def test_the_loops_own_thread_may_not_wait_for_itself() -> None:
    bridge = Bridge(asyncio.get_running_loop())

    async def nothing() -> None: ...

    with pytest.raises(Exception, match="would wait for itself"):
        bridge.run(nothing)
