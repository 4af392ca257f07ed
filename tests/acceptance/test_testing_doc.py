"""The service and the tests of docs/testing.md, run by pytest as it says there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import text

from tests.acceptance.users_tests import assert_empty, assert_pass
from tests.processes import ROOT
from uow import Database, Settings
from uow.testing import Tasks, Trouble

PAGE = (ROOT / "docs" / "testing.md").read_text()

TABLES = (
    "CREATE TABLE orders (id serial PRIMARY KEY, state text NOT NULL DEFAULT 'new')",
    "CREATE TABLE payments (id serial PRIMARY KEY, order_id int NOT NULL)",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the page, in a folder of their own."""
    files = re.findall(r"`(app/[\w/]+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(files) == PAGE.count("```python") - 1  # one is a line of the guide
    for name, source in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "pythonpath = .\n"
    )
    return tmp_path


@pytest.mark.timeout(120)  # a pytest that imports everything anew, and starts servers
@pytest.mark.parametrize(
    ("what", "passed"),
    [("-n 0 app/tests", 9), ("-n 2 --dist load app/tests", 9)],
    ids=["in one process", "in two processes"],
)
async def test_the_tests_of_the_page_pass(
    what: str, passed: int, project: Path, settings: Settings, db: Database
) -> None:
    for table in TABLES:
        await db.execute_once(text(table), {})
    assert_pass(project, settings, "app.tasks", passed, *what.split(), timeout=100)
    await assert_empty(db, "orders", "payments", "worker.task")


def test_the_table_of_failures_is_that_of_the_kit() -> None:
    table = PAGE.partition("### What can go wrong")[2].partition("\n### ")[0]
    assert tuple(re.findall(r"^\| `(the .*?|another .*?)` \|", table, re.MULTILINE)) == get_args(
        Trouble
    )


def test_what_tasks_has_is_on_the_page() -> None:
    public = [name for name in dir(Tasks) if not name.startswith("_") and name != "close"]
    assert [name for name in public if f"{name}(" not in PAGE] == []


def test_a_session_of_pytest_that_does_not_use_the_kit_imports_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing():\n"
        "    heavy = {'sqlalchemy', 'asyncpg', 'arq', 'redis', 'fastapi', 'pydantic'}\n"
        "    assert not heavy & {*sys.modules}\n"
        "    assert not [one for one in sys.modules if one.startswith('uow.db')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "."],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
