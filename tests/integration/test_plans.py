"""Plans are kept as long as a connection, so one that is made while the table is small must do."""

import pytest

from tests.statements import clause
from uow import Database
from uow.db import direct

BY_KEY = [
    "start", "start_many", "succeed", "succeed_many", "fail", "retry", "hand_back", "cancel",
    "note_unknown", "is_current", "run_alone", "report_progress", "look_up", "read_back", "ending",
    "read", "lock_ended", "edit_arguments",
]  # fmt: skip


ACTS = [
    "cancel_many", "run_now", "set_priority", "delete_settled", "jobs_of", "standings",
    "retry_settled_many",
]  # fmt: skip

BY_INDEX = [f"enable_{what} = off" for what in ("seqscan", "bitmapscan", "sort")]

UNSETTLED = ["find_due_for_dispatch", "find_left_behind"]


async def generic_plan(db: Database, name: str, *settings: str) -> str:
    """The plan of a statement for any values, made while the tables are empty."""
    sql, parameters = direct.compiled(clause(db, name))
    async with db.engine.connect() as connection:
        driver = direct.driver_of(await connection.get_raw_connection())
        for setting in ("plan_cache_mode = force_generic_plan", *settings):
            await driver.execute(f"SET {setting}")
        await driver.execute(f"PREPARE kept AS {sql}")
        nothing = f"({', '.join('NULL' for _ in parameters)})" if parameters else ""
        lines = await driver.fetch(f"EXPLAIN EXECUTE kept {nothing}")
        await driver.execute("RESET ALL")
    return "\n".join(line[0] for line in lines)


@pytest.mark.parametrize("name", BY_KEY)
async def test_a_plan_for_any_values_that_is_made_while_the_table_is_empty_goes_by_the_key(
    db: Database, name: str
) -> None:
    plan = await generic_plan(db, name)
    assert "pk_task" in plan
    assert "ix_task_dispatch" not in plan
    assert "Seq Scan on task" not in plan


@pytest.mark.parametrize("name", ACTS)
async def test_an_act_finds_its_tasks_by_the_key(db: Database, name: str) -> None:
    plan = await generic_plan(db, name, *BY_INDEX)  # as `by_key` says it
    assert "Index Scan using pk_task" in plan
    assert "Seq Scan on task" not in plan


@pytest.mark.parametrize(
    ("name", "index"),
    [("walk_all", "pk_task"), ("walk_ended", "ix_task_ended"), ("walk_user", "ix_task_user")],
)
async def test_a_bulk_act_walks_along_one_index_backwards(
    db: Database, name: str, index: str
) -> None:
    plan = await generic_plan(db, name, *BY_INDEX)  # as `by_key` says it
    assert f"Index Scan Backward using {index} on task" in plan
    assert "Seq Scan on task" not in plan
    assert "Seq Scan on task_error" not in plan


@pytest.mark.parametrize("name", ["read_audit", "end_of_audit", "read_audit_of_task"])
async def test_the_audit_is_read_along_its_own_order(db: Database, name: str) -> None:
    plan = await generic_plan(db, name, *BY_INDEX)  # as `by_key` says it
    assert "Seq Scan on audit" not in plan
    assert "Index" in plan


@pytest.mark.parametrize("name", UNSETTLED)
async def test_what_is_looked_for_among_unsettled_tasks_is_not_looked_for_among_the_settled(
    db: Database, name: str
) -> None:
    plan = await generic_plan(db, name, "enable_seqscan = off")  # as `find_dead` says it
    assert "ix_task_dispatch" in plan
    assert "Seq Scan on task" not in plan


async def test_tasks_to_be_retried_are_looked_for_among_those_that_have_not_succeeded(
    db: Database,
) -> None:
    plan = await generic_plan(db, "find_retryable", "enable_seqscan = off")
    assert "ix_task_ended" in plan
    assert "Index Cond: ((ended)::text = ANY" in plan


async def test_what_the_dead_left_behind_is_taken_back_by_the_key(db: Database) -> None:
    plan = await generic_plan(db, "rescue", "enable_seqscan = off")
    assert "pk_task" in plan
    assert "Seq Scan on task" not in plan


async def test_the_backlog_is_looked_at_through_its_index_alone(db: Database) -> None:
    off = [f"enable_{what} = off" for what in ("seqscan", "bitmapscan", "sort")]
    plan = await generic_plan(db, "backlog", *off)  # as `by_index` says it
    assert plan.count("Index Scan using ix_task_dispatch") == 2
    assert "Index Cond: (dispatch_at < 'infinity'" in plan
    assert "Index Cond: (dispatch_at >= 'infinity'" in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


AS_BY_INDEX = [f"enable_{what} = off" for what in ("seqscan", "bitmapscan", "sort")]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("newest_followed", "pk_task"),
        ("followed_of_user", "ix_task_user"),
        ("followed", "pk_task"),
        ("look_followed", "pk_task"),
    ],
)
async def test_what_is_followed_is_found_by_its_index_in_the_order_of_the_list(
    db: Database, name: str, index: str
) -> None:
    plan = await generic_plan(db, name, *AS_BY_INDEX)
    assert f"using {index}" in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan
