"""Plans are kept as long as a connection, so one that is made while the table is small must do."""

import pytest

from worker import Database
from worker.db import direct

BY_KEY = [
    "start", "start_many", "succeed", "succeed_many", "fail", "retry", "hand_back", "cancel",
    "is_current", "run_alone", "report_progress", "look_up", "read_back", "ending", "read",
]  # fmt: skip


@pytest.mark.parametrize("name", BY_KEY)
async def test_a_plan_for_any_values_that_is_made_while_the_table_is_empty_goes_by_the_key(
    db: Database, name: str
) -> None:
    sql, parameters = direct.compiled(getattr(db.queries, name))
    async with db.engine.connect() as connection:
        driver = direct.driver_of(await connection.get_raw_connection())  # type: ignore[arg-type]
        await driver.execute("SET plan_cache_mode = force_generic_plan")
        await driver.execute(f"PREPARE kept AS {sql}")
        nothing = ", ".join("NULL" for _ in parameters)
        lines = await driver.fetch(f"EXPLAIN EXECUTE kept ({nothing})")
        await driver.execute("RESET ALL")
    plan = "\n".join(line[0] for line in lines)
    assert "pk_task" in plan
    assert "ix_task_dispatch" not in plan
    assert "Seq Scan on task" not in plan
