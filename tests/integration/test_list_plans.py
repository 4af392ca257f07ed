"""Every list goes along its index: with empty tables, without statistics, for any values."""

import pytest

from tests.integration.test_plans import generic_plan
from uow import Database

OFF = [f"enable_{what} = off" for what in ("seqscan", "bitmapscan", "sort")]
"""As `bounded_reading` says it."""

INDEXES = {
    "by_id": ("pk_task", "id > arm.low"),
    "by_user": ("ix_task_user", "((ROW(user_id, id) "),
    "ended": ("ix_task_ended", "((ROW((ended)::text, id) "),
    "pushed": ("ix_task_dispatch", "((ROW(dispatch_at, id) "),
    "unpushed": ("ix_task_dispatch", "dispatch_at < 'infinity'"),
    "running": ("pk_task", "id = (unnest("),
    "by_error": ("ix_task_error_error_type", "ROW(error_type, id) "),
    "by_schedule": ("pk_schedule_tick", "((app = schedule.app) AND (name = "),
}


async def test_the_errors_of_a_task_are_found_by_the_task(db: Database) -> None:
    plan = await generic_plan(db, "newest_errors", *OFF)
    assert "Index Cond: ((task_id >= " in plan


async def test_one_task_is_found_by_its_key(db: Database) -> None:
    assert "Index Cond: (id = " in await generic_plan(db, "whole")


async def test_one_task_and_the_acts_on_it_are_found_by_keys(db: Database) -> None:
    plan = await generic_plan(db, "whole_with_acts", *OFF)
    assert plan.count("Seq Scan") == 0
    assert "pk_task" in plan
    assert "Index Cond: (task_id = " in plan


async def test_whose_the_newest_tasks_are_is_read_along_the_ids(db: Database) -> None:
    plan = await generic_plan(db, "newest_users", *OFF)
    assert "Scan Backward using pk_task" in plan
    assert "Index Cond: (id <= " in plan
    assert "Seq Scan" not in plan


async def test_no_task_is_read_for_completion(db: Database) -> None:
    assert " on task" not in await generic_plan(db, "known_words")


async def test_the_newest_bulk_acts_are_found_by_their_key(db: Database) -> None:
    assert "pk_bulk_act" in await generic_plan(db, "newest_bulk", *OFF)


SORTED = {"unpushed", "running"}
"""No index is in the order of these lists: what fits of a window is sorted."""


@pytest.mark.parametrize("direction", ["newest", "oldest"])
@pytest.mark.parametrize("driver", INDEXES)
async def test_a_list_goes_along_its_index(db: Database, driver: str, direction: str) -> None:
    plan = await generic_plan(db, f"list_{direction}_{driver}", *OFF)
    index, condition = INDEXES[driver]
    assert index in plan
    assert condition in plan
    for table in ("task", "task_error", "schedule_tick"):
        assert f"Seq Scan on {table} " not in plan
    assert "hashed SubPlan" not in plan
    assert "Index Cond: (error_type = " not in plan  # all errors of the type, for each task
    if driver not in SORTED:  # what fits is told as it comes: a page ends the look
        assert "Sort" not in plan
