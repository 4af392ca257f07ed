"""Pauses: nothing of a queue, a function, a user or at all is started, and nothing is lost."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from uow import Database, Settings, TaskClient, TaskContext, TaskFunction, TaskState, task
from uow.acts.actor import Actor
from uow.acts.pauses import Pausable, pause, resume
from uow.attempt.pauses import Pauses
from uow.broker.redis import RedisClient
from uow.db import delivery
from uow.db import pauses as statements
from uow.errors import InvalidOptions
from uow.questions.why import why
from uow.services.relay import Relay
from uow.services.resumption import Resumption
from uow.tasks.registry import Registry

ANN = Actor("ann", "shell")
EVERYTHING = Pausable("everything")
QUEUE = Pausable("queue", "arq:queue")
NAME = Pausable("name", "double")
USER = Pausable("user", "bob")

Switch = Callable[[Pausable], Awaitable[object]]


@pytest.fixture
def double(registry: Registry) -> TaskFunction[..., int]:
    @task("double", registry=registry, max_tries=1)
    async def double(ctx: TaskContext, n: int) -> int:
        return 2 * n

    return double


@pytest.fixture
def stop(db: Database) -> Switch:
    return lambda what: pause(db, what, ANN, reason="why not", until=None)


@pytest.fixture
def go_on(db: Database, redis: RedisClient) -> Switch:
    """Resume, and do what the leader and a relay do then."""

    async def resumed(what: Pausable) -> None:
        assert await resume(db, what, ANN, reason=None)
        await Resumption(db, wake_relay=lambda: None).run_once()
        await Relay(db, redis).run_once()

    return resumed


async def row(db: Database, handle: object) -> tuple[str, int, int]:
    found = await db.execute_once(
        text("SELECT state, attempt, tries FROM task WHERE id = :id"),
        {"id": handle.id},  # type: ignore[attr-defined]
    )
    one = found.one()
    return one.state, one.attempt, one.tries


@pytest.mark.parametrize("what", [EVERYTHING, QUEUE, NAME, USER], ids=str)
async def test_what_is_paused_waits_without_a_try_and_runs_when_it_is_resumed(
    what: Pausable, double: TaskFunction[..., int], client: TaskClient, db: Database,
    drain: Drain, stop: Switch, go_on: Switch,
) -> None:  # fmt: skip
    handle = await client.enqueue(double.options(user_id="bob"), n=1)
    await stop(what)
    await drain()
    assert await row(db, handle) == (TaskState.QUEUED, 0, 0)
    later = await client.enqueue(double.options(user_id="bob"), n=2)
    await drain()
    await go_on(what)
    await drain()
    assert [await handle.result(10), await later.result(10)] == [2, 4]
    assert await row(db, handle) == (TaskState.SUCCEEDED, 1, 0)
    found = await db.execute_once(text("SELECT count(*) FROM pause"), {})
    assert found.scalar_one() == 0


@pytest.mark.parametrize("what", [Pausable("queue", "another"), Pausable("name", "triple"),
                                  Pausable("user", "eve")], ids=str)  # fmt: skip
async def test_what_is_not_meant_goes_on(
    what: Pausable, double: TaskFunction[..., int], client: TaskClient, drain: Drain, stop: Switch
) -> None:
    await stop(what)
    theirs = await client.enqueue(double.options(user_id="bob"), n=1)
    nobodys = await client.enqueue(double, n=2)
    await drain()
    assert [await theirs.result(10), await nobodys.result(10)] == [2, 4]


async def test_a_batch_starts_what_is_not_held_back(
    double: TaskFunction[..., int], client: TaskClient, db: Database, drain: Drain, stop: Switch
) -> None:
    await stop(USER)
    theirs = await client.enqueue_many(double.options(user_id="bob"), [{"n": n} for n in range(5)])
    others = await client.enqueue_many(double, [{"n": n} for n in range(5)])
    await drain()
    assert [await one.result(10) for one in others] == [0, 2, 4, 6, 8]
    assert {await row(db, one) for one in theirs} == {(TaskState.QUEUED, 0, 0)}


async def test_neither_relay_nor_rescuer_brings_back_what_a_pause_holds(
    double: TaskFunction[..., int], client: TaskClient, db: Database, redis: RedisClient,
    drain: Drain, stop: Switch, go_on: Switch,
) -> None:  # fmt: skip
    await stop(NAME)
    handle = await client.enqueue(double, n=1)
    await drain()
    await redis.flushdb()  # and a loss of Redis makes no difference
    await Relay(db, redis).run_once()
    assert await delivery.watched(db, UUID(int=0), 10) == []
    assert await redis.zcard("arq:queue") == 0
    await go_on(NAME)
    await drain()
    assert await handle.result(10) == 2


async def test_a_pause_is_known_before_the_first_claim(
    double: TaskFunction[..., int], client: TaskClient, db: Database, drain: Drain, stop: Switch
) -> None:
    handles = await client.enqueue_many(double, [{"n": n} for n in range(20)])
    await stop(EVERYTHING)
    await drain()
    assert {await row(db, one) for one in handles} == {(TaskState.QUEUED, 0, 0)}


async def test_a_rowless_task_of_a_paused_function_waits_in_redis(
    registry: Registry, client: TaskClient, redis: RedisClient, drain: Drain, stop: Switch
) -> None:
    runs = []

    @task("plain", registry=registry, durable=False)
    async def plain(ctx: TaskContext) -> None:
        runs.append(ctx["job_try"])

    await stop(Pausable("name", "plain"))
    handle = await client.enqueue(plain)
    await drain()
    assert runs == []
    [(job_id, _)] = await redis.zrange("arq:queue", 0, -1, withscores=True)
    assert job_id.decode() == str(handle.id)
    assert await redis.get(f"arq:retry:{handle.id}") in (None, b"0")


async def test_a_pause_ends_by_itself(
    double: TaskFunction[..., int], client: TaskClient, db: Database, redis: RedisClient,
    drain: Drain,
) -> None:  # fmt: skip
    soon = datetime.now(UTC) + timedelta(minutes=1)
    await pause(db, NAME, ANN, reason=None, until=soon)
    handle = await client.enqueue(double, n=1)
    await drain()
    assert await row(db, handle) == (TaskState.QUEUED, 0, 0)
    await db.execute_once(text("UPDATE pause SET until = now()"), {})
    await Resumption(db, wake_relay=lambda: None).run_once()
    await Relay(db, redis).run_once()
    await drain()
    assert await handle.result(10) == 2


async def test_who_has_not_heard_of_the_end_yet_holds_nothing_back(db: Database) -> None:
    await pause(db, NAME, ANN, reason=None, until=None)
    known = Pauses()
    await known.note(db, (await delivery.look(db))[1])
    added = await db.execute_once(
        text("INSERT INTO task (name) VALUES ('double') RETURNING id"), {}
    )
    task_id = added.scalar_one()
    await resume(db, NAME, ANN, reason=None)
    assert known.holds_name("double")
    assert await known.hold(db, [task_id]) == set()


async def test_all_that_is_held_is_let_go_page_by_page(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uow.services.resumption.PAGE", 7)
    await pause(db, NAME, ANN, reason=None, until=None)
    await db.execute_once(
        text("INSERT INTO task (name) SELECT 'double' FROM generate_series(1, 30)"), {}
    )
    found = await db.execute_once(text("SELECT id FROM task ORDER BY id"), {})
    ids = [id_ for (id_,) in found]
    assert await statements.hold(db, ids) == set(ids)
    await resume(db, NAME, ANN, reason=None)
    woken = []
    assert await Resumption(db, wake_relay=lambda: woken.append(1)).run_once() == 30
    assert woken
    due = await db.execute_once(text("SELECT count(*) FROM task WHERE dispatch_at <= now()"), {})
    assert due.scalar_one() == 30


async def test_each_change_is_seen_by_the_next_look(db: Database) -> None:
    states = [(await delivery.look(db))[1]]
    for end in (None, datetime.now(UTC) + timedelta(hours=1)):
        await pause(db, NAME, ANN, reason=None, until=end)
        states.append((await delivery.look(db))[1])
    await resume(db, NAME, ANN, reason=None)
    assert states[0] is None
    assert len({*states}) == 3
    assert (await delivery.look(db))[1] is None


async def test_pausing_and_resuming_are_in_the_audit(db: Database) -> None:
    await pause(db, QUEUE, ANN, reason="an incident", until=None)
    await resume(db, QUEUE, ANN, reason=None)
    assert not await resume(db, QUEUE, ANN, reason=None)
    found = await db.execute_once(
        text("SELECT who, what, filter, reason FROM audit ORDER BY id"), {}
    )
    assert [tuple(one) for one in found] == [
        ("ann", "pause", {"queue": "arq:queue"}, "an incident"),
        ("ann", "resume", {"queue": "arq:queue"}, None),
    ]


async def test_what_is_paused_again_gets_another_reason_and_end(db: Database) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    await pause(db, QUEUE, ANN, reason="one", until=None)
    await pause(db, QUEUE, Actor("eve", "api"), reason="two", until=end)
    [one] = await statements.pauses(db)
    assert (one.reason, one.paused_by, one.until) == ("two", "eve", end)


async def test_one_that_is_over_can_be_paused_anew(db: Database) -> None:
    await pause(db, QUEUE, ANN, reason=None, until=datetime.now(UTC) + timedelta(hours=1))
    await db.execute_once(text("UPDATE pause SET until = now()"), {})
    await pause(db, QUEUE, ANN, reason="again", until=None)
    [one] = await statements.pauses(db)
    assert one.reason == "again"


async def test_what_cannot_be_is_refused(db: Database) -> None:
    for kind, target in (("queue", ""), ("everything", "x"), ("name", "a\ud800")):
        with pytest.raises(InvalidOptions):
            Pausable(kind, target)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptions, match="that is over"):
        await pause(db, QUEUE, ANN, reason=None, until=datetime.now(UTC) - timedelta(seconds=1))


@pytest.mark.parametrize("what", [EVERYTHING, QUEUE, NAME, USER], ids=str)
async def test_who_asks_why_it_waits_is_told_who_has_paused_it(
    what: Pausable, client: TaskClient, settings: Settings, db: Database, redis: RedisClient
) -> None:
    asked = text("INSERT INTO task (name, user_id) VALUES ('double', 'bob') RETURNING id")
    task_id = (await db.execute_once(asked, {})).scalar_one()
    await pause(db, what, ANN, reason="an incident", until=None)
    answer = await why(db, redis, settings, task_id)
    assert (answer.name, answer.text) == ("paused", f"ann has paused {what}: an incident")
