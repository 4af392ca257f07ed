"""The application of docs/applications.md, migrated, served and run as it says there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.processes import ROOT, environment_of, run_standing_in
from uow import Database, Settings

GUIDE = (ROOT / "docs" / "applications.md").read_text()


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """The files of the guide, in a folder of their own."""
    files = re.findall(r"`(app/[\w/]+\.py)`:\n\n```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(files) == GUIDE.count("```python")
    for name, source in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


def run(command: str, where: Path, environment: dict[str, str]) -> str:
    module, *arguments = command.split()
    if module == "uow":  # the same, without the second that its imports take
        done = run_standing_in(where, arguments, environment)
    else:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=where, env=environment,
            capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


CALL = """
from fastapi.testclient import TestClient
from app.main import app
with TestClient(app.api(),
                base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as http:
    print(http.post("/orders").raise_for_status().json()["task"])
"""


@pytest.mark.timeout(180)  # five processes that import everything anew
async def test_the_application_does_what_its_page_says(
    application: Path, settings: Settings, db: Database
) -> None:
    environment = environment_of(settings, WORKER_CURRENCY="CHF")
    named = "app.main:app"
    run(f"uow migrate --app {named}", application, environment)
    (application / "call.py").write_text(CALL)
    task_id = run("call", application, environment).strip()
    run(f"uow run {named} --burst", application, environment)
    found = await db.execute_once(
        text("SELECT CAST(id AS text), CAST(result AS text) FROM task"), {}
    )
    assert [tuple(row) for row in found] == [(task_id, '"confirmed, in CHF"')]
    found = await db.execute_once(text("SELECT confirmed FROM orders"), {})
    assert [tuple(row) for row in found] == [(True,)]
    run(f"uow enqueue orders.confirm order_id=1 --app {named}", application, environment)
    run("arq app.main.WorkerSettings --burst", application, environment)
    found = await db.execute_once(text("SELECT count(*) FROM task WHERE state = 'succeeded'"), {})
    assert [tuple(row) for row in found] == [(2,)]
    run("app.work", application, environment)
    found = await db.execute_once(text("SELECT count(*) FROM task WHERE state = 'succeeded'"), {})
    assert [tuple(row) for row in found] == [(3,)]
    without_a_name = {**environment, "WORKER_APPLICATION": named}
    assert "there are no schedules" in run("uow cron list", application, without_a_name)
    run("uow enqueue orders.confirm order_id=1", application, without_a_name)
    run("arq uow.main.WorkerSettings --burst", application, without_a_name)
    found = await db.execute_once(text("SELECT count(*) FROM task WHERE state = 'succeeded'"), {})
    assert [tuple(row) for row in found] == [(4,)]
    run(f"uow migrate --down base --app {named}", application, environment)
    found = await db.execute_once(text("SELECT to_regclass('orders') IS NULL"), {})
    assert [tuple(row) for row in found] == [(True,)]


def test_its_schedule_is_there_if_a_setting_asks_for_it(application: Path) -> None:
    code = (
        "from app.main import app; print([one.name for one in app.schedules(app.load_settings())])"
    )
    for given, told in (({}, "[]"), ({"WORKER_TIDY_SCHEDULE": "@daily"}, "['orders.tidy']")):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=application, env=environment_of(Settings(), **given),
            capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        assert done.stdout == f"{told}\n", done.stderr
