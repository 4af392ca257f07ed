"""A suspect runs alone in its process: nobody beside it, and only when its neighbours ended."""

import asyncio

import pytest

from uow.attempt.solo import LONGEST_PATIENCE, NotAlone, Occupied, Solo, patience_of


class Attempt:
    """An attempt that stays inside until it is told to leave."""

    def __init__(self, solo: Solo) -> None:
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(solo))

    async def _run(self, solo: Solo) -> None:
        with solo.entered():
            self.inside.set()
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self.task


async def settle_down() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_neighbours_run_beside_each_other() -> None:
    solo = Solo()
    attempts = [Attempt(solo) for _ in range(3)]
    for attempt in attempts:
        await attempt.inside.wait()
        await attempt.end()


async def test_a_suspect_waits_for_its_neighbours_and_keeps_others_out() -> None:
    solo = Solo()
    freed: list[bool] = []
    solo.on_free = lambda: freed.append(solo.is_reserved)
    neighbour = Attempt(solo)
    await neighbour.inside.wait()
    alone, done = asyncio.Event(), asyncio.Event()

    async def suspect() -> None:
        with solo.entered():
            async with solo.alone(60):
                alone.set()
                await done.wait()

    running = asyncio.create_task(suspect())
    await settle_down()
    assert not alone.is_set()
    with pytest.raises(Occupied):
        solo.enter()
    await neighbour.end()
    await alone.wait()
    with pytest.raises(Occupied):
        solo.enter()
    assert freed == []
    done.set()
    await running
    assert freed == [False]
    late = Attempt(solo)
    await late.inside.wait()
    await late.end()


async def left_behind_alone(solo: Solo) -> None:
    with solo.entered() as seat:
        async with solo.alone(1):
            solo.stay()
            seat.leave()


async def test_what_a_suspect_leaves_behind_keeps_others_out_until_it_ends() -> None:
    solo = Solo()
    freed: list[bool] = []
    solo.on_free = lambda: freed.append(solo.is_reserved)
    await left_behind_alone(solo)
    with pytest.raises(Occupied):
        solo.enter()
    assert freed == []
    solo.has_ended()
    assert freed == [False]
    solo.enter()


async def test_what_a_suspect_leaves_behind_and_never_ends_does_not_stop_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("uow.attempt.solo.LINGER_SECONDS", 0.01)
    solo, freed = Solo(), asyncio.Event()
    solo.on_free = freed.set
    await left_behind_alone(solo)
    assert solo.is_reserved
    async with asyncio.timeout(10):
        await freed.wait()
    solo.enter()
    solo.leave()
    solo.has_ended()
    assert not solo.is_reserved


async def test_what_a_neighbour_leaves_behind_is_not_the_suspects() -> None:
    solo = Solo()
    neighbour = solo.entered()
    with solo.entered(), pytest.raises(NotAlone), solo.reserved():
        solo.stay()
        neighbour.leave()
        await solo.emptied(0.01)
    assert not solo.is_reserved


async def test_a_suspect_whose_patience_ends_lets_the_others_in() -> None:
    solo = Solo()
    neighbour = Attempt(solo)
    await neighbour.inside.wait()
    with solo.entered():
        with pytest.raises(NotAlone):
            async with solo.alone(0.01):
                raise AssertionError("it is not alone")
    late = Attempt(solo)
    await late.inside.wait()
    await late.end()
    await neighbour.end()


async def test_a_second_suspect_does_not_wait_behind_the_first() -> None:
    solo = Solo()
    with solo.entered():
        async with solo.alone(1):
            with pytest.raises(NotAlone, match="another suspect"):
                async with solo.alone(60):
                    raise AssertionError("it is not alone")


async def test_a_suspect_that_is_cancelled_while_it_waits_lets_the_others_in() -> None:
    solo = Solo()
    neighbour = Attempt(solo)
    await neighbour.inside.wait()

    async def suspect() -> None:
        with solo.entered():
            async with solo.alone(60):
                raise AssertionError("it is not alone")

    waiting = asyncio.create_task(suspect())
    await settle_down()
    waiting.cancel()
    await asyncio.wait([waiting])
    late = Attempt(solo)
    await late.inside.wait()
    await late.end()
    await neighbour.end()


def test_its_patience_grows_with_its_attempts_to_a_limit() -> None:
    assert [patience_of(attempt) for attempt in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert patience_of(10_000) == LONGEST_PATIENCE
