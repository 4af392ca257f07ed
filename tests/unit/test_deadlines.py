"""Deadlines: as `asyncio.timeout`, with one timer for all that may take equally long."""

import asyncio

import pytest

from uow.attempt.deadlines import Deadlines

SOON = 0.01


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines()


async def stuck(deadlines: Deadlines, seconds: float) -> None:
    with deadlines.within(seconds):
        await asyncio.Event().wait()


async def test_who_takes_too_long_is_interrupted(deadlines: Deadlines) -> None:
    with pytest.raises(TimeoutError):
        await stuck(deadlines, SOON)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_all_of_one_length_are_interrupted_each_in_its_turn(deadlines: Deadlines) -> None:
    ended: list[int] = []

    async def one(number: int) -> None:
        with pytest.raises(TimeoutError):
            await stuck(deadlines, SOON)
        ended.append(number)

    await asyncio.gather(*map(one, range(20)))
    assert ended == list(range(20))


async def test_who_comes_while_the_timer_is_set_for_another_has_its_whole_time(
    deadlines: Deadlines,
) -> None:
    loop = asyncio.get_running_loop()
    with deadlines.within(SOON):
        await asyncio.sleep(SOON / 2)
    began = loop.time()
    with pytest.raises(TimeoutError):
        await stuck(deadlines, SOON)
    assert loop.time() - began >= SOON - 0.001


async def test_a_shorter_one_does_not_wait_for_a_longer_one(deadlines: Deadlines) -> None:
    long = asyncio.create_task(stuck(deadlines, 60))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await stuck(deadlines, SOON)
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long


async def test_who_has_left_is_never_interrupted(deadlines: Deadlines) -> None:
    with deadlines.within(SOON):
        pass
    with pytest.raises(TimeoutError):  # the timer that was set for the first has come by then
        await stuck(deadlines, SOON)
    await asyncio.sleep(0)


async def test_an_interruption_from_outside_is_none_of_ours(deadlines: Deadlines) -> None:
    task = asyncio.create_task(stuck(deadlines, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_are_an_interruption_from_outside(deadlines: Deadlines) -> None:
    async def both() -> None:
        with deadlines.within(60) as deadline:
            deadline.end()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(both())


async def test_who_has_swallowed_it_returns(deadlines: Deadlines) -> None:
    with deadlines.within(SOON) as deadline:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
    assert deadline.is_over


async def test_a_timeout_error_of_the_function_is_its_own(deadlines: Deadlines) -> None:
    with pytest.raises(TimeoutError, match="mine"), deadlines.within(60) as deadline:
        raise TimeoutError("mine")
    assert not deadline.is_over


async def test_nothing_is_kept_of_those_that_have_left(deadlines: Deadlines) -> None:
    for _ in range(10):
        with deadlines.within(60):
            pass
    [line] = deadlines._lines.values()
    assert not line._waiting


async def test_a_process_that_has_ended_leaves_no_timer_behind(deadlines: Deadlines) -> None:
    with deadlines.within(60):
        pass
    [line] = deadlines._lines.values()
    timer = line._timer
    assert timer is not None
    deadlines.close()
    assert timer.cancelled()
    with pytest.raises(TimeoutError):  # it may be started again
        await stuck(deadlines, SOON)
