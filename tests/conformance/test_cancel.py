"""Cancel against completion: one of them wins, and the effect is there if and only if it lost."""

import asyncio
import random

from sqlalchemy import text

from tests.conformance import tasks
from tests.conformance.conftest import House, effects_of, wait_until, wait_until_running
from uow import TaskHandle, TaskState

STATES = text("SELECT args ->> 'what' AS what, state, settled_at FROM task")
TASKS = 1000
AT_ONCE = 50


async def test_a_thousand_cancels_race_completions_and_each_task_has_one_end(
    house: House,
) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    await house.start_worker(WORKER_CONCURRENCY="5")
    cancelled: list[bool] = []
    for at in range(0, TASKS, AT_ONCE):  # with more, the looks at their states come too late
        handles = await house.client.enqueue_many(
            tasks.brief, [{"what": f"{n:04}"} for n in range(at, at + AT_ONCE)]
        )
        cancelled += await asyncio.gather(*(_cancel_at_its_time(one, rng) for one in handles))

    async def all_settled() -> bool:
        return bool((await house.db.execute_once(tasks.LEFT, {})).scalar_one() == 0)

    await wait_until(all_settled, 60)
    rows = (await house.db.execute_once(STATES, {})).all()
    states = {row.what: row.state for row in rows}
    by_cancel = {f"{n:04}" for n, won in enumerate(cancelled) if won}
    assert {what for what, state in states.items() if state == TaskState.CANCELLED} == by_cancel, (
        seed
    )
    rest = states.keys() - by_cancel
    assert {states[what] for what in rest} == {TaskState.SUCCEEDED}, seed
    assert await effects_of(house.db) == sorted(rest), seed
    assert len(by_cancel) > TASKS / 20, "the cancels came too late to be a test"
    assert len(rest) > TASKS / 20, "the cancels came too early to be a test"


async def _cancel_at_its_time(handle: TaskHandle[None], rng: random.Random) -> bool:
    """Cancel when the task is queued, or has just been started, or has nearly ended."""
    patience = rng.choice([0.0, 0.0, 0.001, 0.003, 0.006, 0.01])
    if patience == 0.0 and rng.random() < 0.3:
        return await handle.cancel()
    while await handle.status() not in (TaskState.RUNNING, TaskState.SUCCEEDED):
        await asyncio.sleep(0.002)
    await asyncio.sleep(patience)
    return await handle.cancel()


async def test_cancelling_a_running_task_ends_its_function_and_spares_its_neighbour(
    house: House,
) -> None:
    worker = await house.start_worker()
    doomed = await house.client.enqueue(tasks.hold, what="doomed")
    spared = await house.client.enqueue(tasks.hold_until, what="spared", gate=str(house.gate))
    for handle in (doomed, spared):
        await wait_until_running(house.client, handle.id)
    assert await doomed.cancel()
    assert await doomed.status() is TaskState.CANCELLED
    await asyncio.to_thread(worker.wait_for_log, f"{doomed.id} was cancelled while it ran")
    house.gate.touch()
    await spared.result(10)
    assert await effects_of(house.db) == ["spared"]
