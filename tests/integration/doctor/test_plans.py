"""The doctor's statements scan no table of tasks, whatever is known of its size."""

from tests.integration.test_plans import generic_plan
from uow import Database
from uow.db import fleet_facts

OFF = [f"enable_{what} = off" for what in ("seqscan", "bitmapscan", "sort")]
"""As `bound` says it."""


async def test_unsettled_work_is_looked_at_through_its_index_alone(db: Database) -> None:
    assert fleet_facts.LOOKED_AT == 10_000
    plan = await generic_plan(db, "unsettled_work", *OFF)
    assert plan.count("Index Scan using ix_task_dispatch") == 2
    assert "Index Cond: (dispatch_at < 'infinity'" in plan
    assert "Index Cond: (dispatch_at >= 'infinity'" in plan
    assert plan.count("Limit") == 2
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


async def test_rows_of_jobs_are_looked_for_by_the_key(db: Database) -> None:
    plan = await generic_plan(db, "rows_there", *OFF)
    assert "pk_task" in plan
    assert "Seq Scan on task" not in plan
