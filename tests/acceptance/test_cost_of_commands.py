"""What commands cost that people run while they wait, or leave running: CPU, not time of a loaded
machine."""

import os
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from sqlalchemy import text

from uow import Database
from uow.cli import top

HELP_SECONDS = 0.25

SHARE_OF_A_CORE = 0.02


def cpu_of(*command: str) -> float:
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    return (
        after.children_user
        + after.children_system
        - (before.children_user + before.children_system)
    )


def test_help_is_there_in_a_quarter_of_a_second() -> None:
    worker = str(Path(sys.executable).with_name("worker"))
    assert min(cpu_of(worker, "--help") for _ in range(3)) <= HELP_SECONDS


async def test_top_takes_a_fiftieth_of_a_core(db: Database) -> None:
    """With twenty workers, each of which runs five tasks, in a terminal."""
    fleet = """
        WITH ran AS (
            INSERT INTO task (id, name, state, queue, worker, attempt, started_at, dispatch_at)
            SELECT gen_random_uuid(), 'name', 'running', 'q' || i % 5, 'w' || i / 5, 1, now(),
                   'infinity' FROM generate_series(0, 99) AS i RETURNING id, worker)
        INSERT INTO worker_process (id, queue, running)
        SELECT worker, 'arq:queue', array_agg(id) FROM ran GROUP BY worker
    """
    await db.execute_once(text(fleet), {})
    shown = StringIO()
    console = Console(file=shown, force_terminal=True, width=160, height=60)
    with top._screen(console) as show:
        show(await top._look(db, 60.0))  # the first one connects, and imports
        costs = []
        for _ in range(5):
            began = time.process_time()
            show(await top._look(db, 60.0))
            costs.append(time.process_time() - began)
    assert "20 workers" in shown.getvalue()
    assert min(costs) / top.REFRESH_SECONDS <= SHARE_OF_A_CORE, costs
