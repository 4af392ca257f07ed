"""What acts settle is in the rollup, so that it agrees with the rows."""

from collections import Counter
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from tests.integration.test_interventions import put
from uow import Database, Settings, TaskClient, TaskContext, TaskState, task
from uow.acts.actor import Actor
from uow.acts.bulk import BulkActs
from uow.acts.pruning import prune_now
from uow.acts.single import Acts
from uow.db import acts as acts_db
from uow.questions.filters import TaskFilter
from uow.questions.redaction import Redaction
from uow.services.bulk_runner import BulkRunner
from uow.services.count_merger import CountMerger
from uow.tasks.registry import Registry

ANN = Actor("ann", "api", "10.0.0.7")

COUNTED = """
SELECT name, queue, outcome, CAST(sum(n) AS int) AS n FROM {table}
WHERE outcome <> 'overtaken' AND name <> ''
GROUP BY 1, 2, 3
"""
SETTLED = """
SELECT name, queue, CASE state WHEN 'succeeded' THEN 'completed' ELSE state END AS outcome,
       CAST(count(*) AS int) AS n
FROM task WHERE settled_at IS NOT NULL GROUP BY 1, 2, 3
"""

Sums = Counter[tuple[str, str, str]]


@pytest.fixture
def acts(client: TaskClient, registry: Registry) -> Acts:
    return Acts(client, registry, Redaction([], registry))


async def sums(db: Database, statement: str) -> Sums:
    found = (await db.execute_once(text(statement), {})).all()
    return Counter({(one.name, one.queue, one.outcome): one.n for one in found})


async def counted(db: Database) -> Sums:
    """What the rollup has, once all is added up; the minutes and the hours say the same."""
    await CountMerger(db).run_once()
    minutes = await sums(db, COUNTED.format(table="rollup"))
    assert minutes == await sums(db, COUNTED.format(table="rollup_hour"))
    return minutes


async def number(db: Database, statement: str) -> int:
    return int((await db.execute_once(text(statement), {})).scalar_one())


async def test_the_rollup_says_of_acts_what_the_rows_say(
    db: Database, client: TaskClient, acts: Acts
) -> None:
    waiting = [await put(db, TaskState.QUEUED, name=f"n{i % 2}") for i in range(6)]
    for task_id in waiting[:3]:
        assert await acts.cancel(task_id, ANN) is None
        assert await acts.cancel(task_id, ANN) is not None
    assert await counted(db) == await sums(db, SETTLED)

    for i in range(40):
        await put(db, TaskState.RUNNING, name="many", queue=f"q{i % 3}")
    bulk = BulkActs(client)
    view = await bulk.preview("cancel", TaskFilter.read([("name", "many")]), ANN)
    await bulk.confirm(view.row.id, ANN)
    await BulkRunner(client).run_once()
    assert await counted(db) == await sums(db, SETTLED)
    assert (await counted(db)).total() == 43

    before = await counted(db)
    await db.execute_once(text("UPDATE task SET expires_at = now() - interval '1 s'"), {})
    assert await prune_now(client, ANN) == 43
    assert await counted(db) == before  # what has ended has ended, whatever is kept of it


async def test_a_task_that_is_cancelled_again_is_counted_again(db: Database, acts: Acts) -> None:
    task_id = await put(db, TaskState.QUEUED)
    await acts.cancel(task_id, ANN)
    assert await acts.retry(task_id, ANN) is None
    await acts.cancel(task_id, ANN)
    assert (await counted(db)).total() == 2


async def test_with_attempts_beside_acts_the_numbers_agree_with_the_rows(
    db: Database, client: TaskClient, acts: Acts, registry: Registry, drain: Drain
) -> None:
    @task("fine", registry=registry)
    async def fine(ctx: TaskContext, number: int) -> None: ...

    @task("gone", registry=registry)
    async def gone(ctx: TaskContext) -> None: ...

    for i in range(5):
        await client.enqueue(fine, number=i)
    handle = await client.enqueue(gone)
    assert isinstance(handle.id, UUID)
    assert await acts.cancel(handle.id, ANN) is None
    await drain()
    found = await counted(db)
    assert found == await sums(db, SETTLED)
    assert found["gone", "arq:queue", "cancelled"] == 1


async def test_an_act_that_is_rolled_back_counts_nothing(db: Database, settings: Settings) -> None:
    task_id = await put(db, TaskState.QUEUED)
    with pytest.raises(ConnectionResetError):
        async with db.transaction() as transaction:
            assert await acts_db.cancel_many(transaction, [task_id], 60) == [task_id]
            raise ConnectionResetError
    assert await number(db, "SELECT count(*) FROM rollup_inbox") == 0


async def test_what_is_passed_by_writes_no_row(db: Database, acts: Acts) -> None:
    await acts.cancel(await put(db, TaskState.SUCCEEDED), ANN)
    assert await number(db, "SELECT count(*) FROM rollup_inbox") == 0


async def test_nobody_remembers_which_acts_were_added_up(db: Database, acts: Acts) -> None:
    for _ in range(3):
        await acts.cancel(await put(db, TaskState.QUEUED), ANN)
    assert (await counted(db)).total() == 3
    assert await number(db, "SELECT count(*) FROM rollup_source") == 0
