"""Pauses of a fleet that works: within a second nothing more is started, and nothing is lost."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from tests.conformance import tasks
from tests.conformance.conftest import House, effects_of, wait_until
from uow.acts.actor import Actor
from uow.acts.pauses import Pausable, pause, resume

ANN = Actor("ann", "shell")
TASKS = 1000

LATEST = timedelta(seconds=3)
"""A second, and what a machine adds that has much else to do."""
PAUSED = text("SELECT max(paused_at) FROM pause")
STARTED = text(
    'SELECT max(started_at) AS last, count(*) FILTER (WHERE settled_at IS NULL) AS "left" FROM task'
)
RUNNING = text("SELECT count(*) FROM task WHERE state = 'running'")


@pytest.mark.parametrize(
    "what",
    [Pausable("everything"), Pausable("user", "bob")],
    ids=str,
)
async def test_within_a_second_nothing_more_is_started_and_all_of_it_runs_once_later(
    house: House, what: Pausable
) -> None:
    await house.start_worker(WORKER_CONCURRENCY="5")
    await house.start_worker(WORKER_CONCURRENCY="5")
    every = [{"what": f"{n:04}"} for n in range(TASKS)]
    await house.client.enqueue_many(tasks.brief.options(user_id="bob"), every)

    async def works() -> bool:
        found = await house.db.execute_once(STARTED, {})
        return found.one()[0] is not None

    await wait_until(works)
    await pause(house.db, what, ANN, reason=None, until=None)

    async def stands_still() -> bool:
        """For two seconds nothing has been started."""
        found = await house.db.execute_once(
            text("SELECT now() - max(started_at) > interval '2 seconds' FROM task"), {}
        )
        return bool(found.scalar_one())

    await wait_until(stands_still)
    paused = (await house.db.execute_once(PAUSED, {})).scalar_one()
    found = (await house.db.execute_once(STARTED, {})).one()
    last, left = found.last, found.left
    assert last - paused < LATEST
    assert left, "it was paused too late to be a test"
    assert (await house.db.execute_once(RUNNING, {})).scalar_one() == 0
    await house.client.redis.flushdb()
    assert await resume(house.db, what, ANN, reason=None)

    async def all_settled() -> bool:
        return bool((await house.db.execute_once(tasks.LEFT, {})).scalar_one() == 0)

    await wait_until(all_settled, 60)
    assert await effects_of(house.db) == [one["what"] for one in every]
    tries = text("SELECT max(tries), max(attempt) FROM task")
    assert tuple((await house.db.execute_once(tries, {})).one()) == (0, 1)
