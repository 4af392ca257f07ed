"""What the typed statements answer."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from uow import Database, TaskState
from uow.db import attempts, enqueueing, outcomes, reading, rescue, server
from uow.db.attempts import Guard


@pytest.fixture
async def task_id(db: Database) -> UUID:
    """A task that is due."""
    id_ = uuid4()
    new = enqueueing.NewTasks([id_], ["{}"], "x", "arq:queue")
    ((made, _, due, near),) = await enqueueing.insert(db, new)
    assert (made, due, near) == (id_, True, True)
    return id_


async def test_a_start_says_what_was_started(db: Database, task_id: UUID) -> None:
    started = await attempts.start(db, task_id, "w")
    assert started is not None
    assert 0 <= started.waited < 60
    assert started._replace(waited=0) == attempts.Started(
        task_id, "x", "{}", 1, 0, None, 0, None, None, 0
    )
    assert await attempts.start(db, task_id, "w") is None
    again = await attempts.start(db, task_id, "w", take_over=True)
    assert again is not None
    assert again.attempt == 2


async def test_several_are_started_at_once(db: Database, task_id: UUID) -> None:
    started = await attempts.start_many(db, sorted([task_id, uuid4()]), "w")
    assert [(one.id, one.attempt) for one in started] == [(task_id, 1)]
    assert await outcomes.succeed_many(db, [task_id], ["1"], [60.0]) == [task_id]
    assert await outcomes.succeed_many(db, [task_id], ["1"], [60.0]) == []


async def test_the_row_tells_what_became_of_a_guard(db: Database, task_id: UUID) -> None:
    await attempts.start(db, task_id, "w")
    assert await attempts.guard_of(db, task_id, 1) is Guard.HELD
    await attempts.start(db, task_id, "w", take_over=True)
    assert await attempts.guard_of(db, task_id, 1) is Guard.OVERTAKEN
    assert await db.execute_once(outcomes.succeed(task_id, "1", 60.0))
    assert await attempts.guard_of(db, task_id, 2) is Guard.SETTLED
    assert await attempts.guard_of(db, uuid4(), 1) is Guard.SETTLED


async def test_an_attempt_that_has_been_overtaken_writes_nothing(
    db: Database, task_id: UUID
) -> None:
    await attempts.start(db, task_id, "w")
    await attempts.start(db, task_id, "w", take_over=True)
    old, error = (task_id, 1), ValueError("late")
    assert not await attempts.is_current(db, *old)
    assert not await attempts.run_alone(db, *old)
    assert not await attempts.report_progress(db, *old, "{}")
    assert not await outcomes.fail(db, *old, error, 60.0)
    assert not await outcomes.retry(db, *old, error, 1.0)
    assert not await outcomes.snooze(db, *old, 1.0)
    assert await outcomes.hand_back(db, *old, 1.0) is None
    assert not await outcomes.was_committed(db, *old)


async def test_outcomes_say_that_they_were_written(db: Database, task_id: UUID) -> None:
    await attempts.start(db, task_id, "w")
    this = (task_id, 1)
    assert await attempts.is_current(db, *this)
    assert await attempts.run_alone(db, *this)
    assert await attempts.report_progress(db, *this, "{}")
    assert await outcomes.hand_back(db, *this, 0.0) == 0
    assert await outcomes.retry(db, *this, ValueError("again"), 0.0)
    assert await outcomes.snooze(db, *this, 0.0)
    standing = await attempts.look_up(db, task_id)
    assert standing is not None
    assert (standing.state, standing.settled, standing.attempt) == (TaskState.SCHEDULED, False, 1)
    assert await outcomes.fail(db, *this, ValueError("no good"), 60.0)
    word = await reading.ending(db, task_id)
    assert word is not None
    assert (word.state, word.message) == (TaskState.FAILED, "no good")
    stored = await reading.read(db, task_id)
    assert stored is not None
    assert (stored.state, stored.tries) == (TaskState.FAILED, 2)
    assert [one.message for one in await reading.read_errors(db, task_id)] == ["again", "no good"]


async def test_a_success_can_be_read_back(db: Database, task_id: UUID) -> None:
    await attempts.start(db, task_id, "w")
    await db.execute_once(outcomes.succeed(task_id, "1", 60.0))
    assert await outcomes.was_committed(db, task_id, 1)
    assert not await outcomes.was_committed(db, task_id, 2)


async def test_what_the_dead_left_behind_is_told(db: Database, task_id: UUID) -> None:
    dead = "INSERT INTO worker_process (id, queue, running, heartbeat_at) VALUES ('w', 'q', '{}', "
    await db.execute_once(text(f"{dead} now() - interval '1 minute')"), {})
    await attempts.start(db, task_id, "w")
    async with db.transaction() as transaction:
        gone = await rescue.find_dead(transaction, 30.0)
        assert gone == [rescue.DeadProcess("w", False)]
        left = await rescue.find_left_behind(transaction, ["w"])
        assert left == [rescue.LeftBehind(task_id, "w", False, 1)]
        await rescue.note_storm(transaction)
        (back,) = await rescue.rescue(transaction, [task_id], ["w"], calm=1.0, retention=60.0)
        assert (back.id, back.state, back.deaths) == (task_id, TaskState.QUEUED, 1)
        await rescue.forget_dead(transaction, ["w"])
    await rescue.end_sessions(db, ["nobody"])
    assert await rescue.find_dead(db, 30.0) == []


async def test_the_server_is_asked_about_itself(db: Database) -> None:
    await server.ping(db)
    assert await server.been_up(db, 0.0)
    assert not await server.been_up(db, 1e9)
