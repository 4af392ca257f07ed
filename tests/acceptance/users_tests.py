"""Tests of a user's own, run by a pytest of their own."""

import re
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from tests.processes import environment_of
from uow import Database, Settings


def assert_pass(
    where: Path, settings: Settings, modules: str, passed: int, *arguments: str, timeout: float
) -> None:
    """So many tests of the folder pass, on the test's database, and none fails.

    Args:
        modules: WORKER_TASK_MODULES.
        *arguments: Pytest's.
    """
    url = settings.require_database().url
    environment = environment_of(Settings(), TEST_DATABASE_URL=url, WORKER_TASK_MODULES=modules)
    environment.pop("WORKER_DATABASE_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=where, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^{passed} passed", done.stdout, re.MULTILINE), done.stdout


async def assert_empty(db: Database, *tables: str) -> None:
    """They have left nothing there."""
    for table in tables:
        left = await db.execute_once(text(f"SELECT count(*) FROM {table}"), {})
        assert left.scalar_one() == 0, table
