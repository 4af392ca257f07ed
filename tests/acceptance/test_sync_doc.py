"""The module of docs/sync.md, run as it says there."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.processes import ROOT, environment_of
from uow import Database, Settings, TaskClient

GUIDE = (ROOT / "docs" / "sync.md").read_text()


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """The file of the guide, in a folder of its own."""
    [(name, source)] = re.findall(r"`(app/[\w/]+\.py)`:\n\n```python\n(.*?)```", GUIDE, re.DOTALL)
    assert GUIDE.count("```python") == 1
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(source)
    return tmp_path


@pytest.mark.timeout(120)  # two processes that import everything anew
@pytest.mark.parametrize("engine", [[], ["--stock"]], ids=["fast", "stock"])
async def test_the_tasks_do_what_their_page_says(
    application: Path, settings: Settings, db: Database, client: TaskClient, engine: list[str]
) -> None:
    await db.execute_once(
        text("CREATE TABLE report (id serial PRIMARY KEY, title text, body text)"), {}
    )
    written = await client.enqueue("report.write", title="First", body="lorem")
    digest = await client.enqueue("report.digest", body="lorem", rounds=1000)
    environment = environment_of(settings, WORKER_TASK_MODULES="app.tasks")
    done = await asyncio.to_thread(  # the client has to push meanwhile
        subprocess.run,
        [sys.executable, "-m", "uow", "run", "--burst", *engine],
        cwd=application, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [await written.status(), await digest.status()] == ["succeeded"] * 2, done.stderr
    assert [await written.status(), await digest.status()] == ["succeeded"] * 2, done.stderr
    assert await written.result(10) == 1
    assert len(await digest.result(10)) == 64
    found = await db.execute_once(text("SELECT title FROM report"), {})
    assert found.scalar_one() == "First"


def test_the_settings_that_it_names_are_there() -> None:
    named = {*re.findall(r"WORKER_\w+", GUIDE)}
    assert {name.removeprefix("WORKER_").lower() for name in named} <= {*Settings.model_fields}
