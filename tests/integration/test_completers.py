"""Both completers mean the same: what is in the row, what is told, and that it happens once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import arq
import pytest
from sqlalchemy import text

from uow import Backoff, Cancel, Database, Retry, Settings, Snooze, TaskContext, TaskState, task
from uow.attempt.attempt import Attempt
from uow.attempt.completer import Completer, Guarded
from uow.attempt.delivery import Delivery, HeldJob
from uow.attempt.run import go_on
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.attempt.start import start
from uow.broker.claims import Finish
from uow.broker.redis import RedisClient
from uow.db.interventions import cancel
from uow.errors import TaskFailed
from uow.fast.grouped import Grouped
from uow.fast.slot import answered
from uow.tasks.registry import Registry

PUT = text("INSERT INTO task (id, name) VALUES (:id, :name)")
EFFECT = text("INSERT INTO effect VALUES ('done')")
ROW = text("SELECT state, attempt, tries, CAST(result AS text) AS result FROM task WHERE id = :id")


class Told:
    """What was told of a job: as arq hears it, or as Redis is asked to finish it."""

    def __init__(self) -> None:
        self.jobs_complete = self.jobs_failed = self.jobs_retried = 0
        self.ctx: dict[Any, Any] = {}
        self.finished: list[Finish] = []

    def spawn(self, held: Held, work: Any) -> None:
        raise AssertionError("nothing is spawned here")

    def finish(self, held: Held, finish: Finish) -> None:
        held.ends = True
        self.finished.append(finish)

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.jobs_complete, self.jobs_failed, self.jobs_retried


class House:
    """A process without an engine: attempts are carried out one by one, by hand."""

    def __init__(
        self, db: Database, redis: RedisClient, settings: Settings, registry: Registry
    ) -> None:
        leases: Any = SimpleNamespace(queue_of=lambda _: "arq:queue")
        client: Any = redis
        self.db = db
        self.runtime = Runtime(
            db, client, registry, leases, settings, "me", self._nothing_to_push, lambda: None
        )
        self.told = Told()
        self.performed = asyncio.Event()

    async def _nothing_to_push(self) -> None: ...

    async def started(self, name: str) -> Attempt:
        """The attempt of a task that is in Postgres now."""
        id_ = uuid4()
        await self.db.execute_once(PUT, {"id": id_, "name": name})
        row = await start(self.runtime, id_)
        assert row is not None
        held = Held(str(id_), "arq:queue", 0, b"payload", id_)
        delivery = Delivery(name, str(id_), id_, (), {}, 0, 0, 1)
        ctx = {"settings": self.runtime.settings, **delivery.context}
        return Attempt(self.runtime, HeldJob(ctx, delivery, held), row)

    async def row(self, attempt: Attempt) -> tuple[str, int, int, str | None]:
        found = await self.db.execute_once(ROW, {"id": attempt.task.id})
        (state, number, tries, result) = tuple(found.one())
        return state, number, tries, result


Complete = Callable[[Attempt], Any]


@pytest.fixture
async def house(db: Database, redis: RedisClient, settings: Settings, registry: Registry) -> House:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})
    return House(db, redis, settings, registry)


@pytest.fixture(params=["guarded", "grouped"])
async def complete(
    request: pytest.FixtureRequest, house: House
) -> AsyncIterator[Callable[[Attempt], Any]]:
    """Carry an attempt out, with a completer of either kind, until it is told."""
    async with _completer(request.param, house) as (completer, settle):

        async def run(attempt: Attempt) -> None:
            work = partial(go_on, attempt, completer)
            runtime, told = house.runtime, house.told
            await answered(told, runtime, attempt.held, attempt.delivery, work)
            await settle()

        yield run


@asynccontextmanager
async def _completer(kind: str, house: House) -> AsyncIterator[tuple[Completer, Any]]:
    if kind == "guarded":

        async def nothing() -> None: ...

        yield Guarded(), nothing
        return
    grouped = Grouped(house.told, house.runtime, None)
    yield grouped, grouped.commits.run_once


@pytest.fixture
def functions(registry: Registry, house: House) -> None:
    @task("returns", registry=registry)
    async def returns(ctx: TaskContext) -> str:
        return "done"

    @task("writes", registry=registry)
    async def writes(ctx: TaskContext) -> str:
        async with ctx["db"].get_session() as session:
            await session.execute(EFFECT)
        return "done"

    @task("fails", max_tries=2, backoff=Backoff(base=0), registry=registry)
    async def fails(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(EFFECT)
        raise ValueError("no")

    @task("fails.for_good", max_tries=1, registry=registry)
    async def fails_for_good(ctx: TaskContext) -> None:
        raise ValueError("no")

    @task("retries", registry=registry)
    async def retries(ctx: TaskContext) -> None:
        raise Retry(3600)

    @task("snoozes", registry=registry)
    async def snoozes(ctx: TaskContext) -> None:
        raise Snooze(3600)

    @task("cancels", registry=registry)
    async def cancels(ctx: TaskContext) -> None:
        raise Cancel("why")

    @task("tells", registry=registry)
    async def tells(ctx: TaskContext) -> None:
        ctx["task"].on_commit(house.performed.set)

    @task("returns.nonsense", max_tries=1, registry=registry)
    async def nonsense(ctx: TaskContext) -> str:
        return "a\ud800"


pytestmark = pytest.mark.usefixtures("functions")


@pytest.mark.parametrize(
    ("name", "row", "counts", "effects"),
    [
        ("returns", ("succeeded", 1, 0, '"done"'), (1, 0, 0), 0),
        ("writes", ("succeeded", 1, 0, '"done"'), (1, 0, 0), 1),
        ("fails", ("retrying", 1, 1, None), (0, 0, 1), 0),
        ("fails.for_good", ("failed", 1, 1, None), (0, 1, 0), 0),
        ("retries", ("retrying", 1, 1, None), (1, 0, 0), 0),  # the relay pushes it in an hour
        ("snoozes", ("scheduled", 1, 0, None), (1, 0, 0), 0),
        ("cancels", ("cancelled", 1, 0, None), (1, 0, 0), 0),
        ("returns.nonsense", ("failed", 1, 1, None), (0, 1, 0), 0),
    ],
)
async def test_what_is_written_and_told(
    name: str,
    row: tuple[object, ...],
    counts: tuple[int, int, int],
    effects: int,
    house: House,
    complete: Complete,
) -> None:
    attempt = await house.started(name)
    await complete(attempt)
    assert await house.row(attempt) == row
    assert house.told.counts == counts
    assert len(house.told.finished) == 1
    found = await house.db.execute_once(text("SELECT count(*) FROM effect"), {})
    assert found.scalar_one() == effects


@pytest.mark.parametrize("name", ["returns", "writes", "fails", "snoozes", "cancels"])
async def test_what_somebody_has_settled_stays_as_it_is(
    name: str, house: House, complete: Complete
) -> None:
    attempt = await house.started(name)
    assert isinstance(attempt.task.id, UUID)
    await cancel(house.db, attempt.task.id, 60.0)
    await complete(attempt)
    assert (await house.row(attempt))[0] == TaskState.CANCELLED
    assert len(house.told.finished) == 1
    found = await house.db.execute_once(text("SELECT count(*) FROM effect"), {})
    assert found.scalar_one() == 0


@pytest.mark.parametrize("name", ["fails", "snoozes", "cancels", "fails.for_good"])
async def test_an_attempt_that_was_overtaken_writes_no_failure(
    name: str, house: House, complete: Complete
) -> None:
    attempt = await house.started(name)
    assert attempt.task.id is not None
    assert await start(house.runtime, attempt.task.id, take_over=True) is not None
    await complete(attempt)
    assert await house.row(attempt) == ("running", 2, 0, None)


async def test_callbacks_come_after_the_commit(house: House, complete: Complete) -> None:
    attempt = await house.started("tells")
    await complete(attempt)
    async with asyncio.timeout(10):
        await house.performed.wait()
    assert (await house.row(attempt))[0] == TaskState.SUCCEEDED


async def test_one_whose_completion_postgres_refuses_has_failed_by_that(
    house: House, complete: Complete
) -> None:
    await house.db.execute_once(text("ALTER TABLE task ADD CHECK (state <> 'succeeded')"), {})
    attempt = await house.started("returns")
    await complete(attempt)
    state, number, tries, _ = await house.row(attempt)
    assert (state, number, tries) == ("retrying", 1, 1)
    assert house.told.counts == (0, 0, 1)
    assert [one.action for one in house.told.finished] == ["again"]


async def test_the_guarded_one_raises_what_arq_is_to_be_told(house: House) -> None:
    with pytest.raises(arq.Retry):
        await go_on(await house.started("fails"), Guarded())
    with pytest.raises(TaskFailed):
        await go_on(await house.started("fails.for_good"), Guarded())
    await go_on(await house.started("returns"), Guarded())


async def test_the_grouped_one_keeps_a_completion_until_its_group_is_committed(
    house: House,
) -> None:
    grouped = Grouped(house.told, house.runtime, None)
    attempts = [await house.started("returns") for _ in range(3)]
    for attempt in attempts:
        await go_on(attempt, grouped)
    assert [(await house.row(attempt))[0] for attempt in attempts] == ["running"] * 3
    assert house.told.finished == []
    await grouped.commits.run_once()
    assert [(await house.row(attempt))[0] for attempt in attempts] == ["succeeded"] * 3
    assert [one.action for one in house.told.finished] == ["settled"] * 3
