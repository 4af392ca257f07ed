"""The module of docs/extending.md, run by a worker as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from tests.processes import ROOT, environment_of
from uow import Database, Settings


async def test_the_module_does_what_its_page_says(
    tmp_path: Path, settings: Settings, db: Database
) -> None:
    (source,) = re.findall("```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.S)
    (tmp_path / "documented_invoices.py").write_text(source)
    environment = environment_of(settings, WORKER_TASK_MODULES="documented_invoices")
    commands = (
        "enqueue invoices.send invoice_id=1 --header tenant=acme",
        "enqueue invoices.send invoice_id=2",
        "run --burst",
    )
    said = ""
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "uow", *command.split()], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = done.stderr
    found = await db.execute_once(
        text("SELECT CAST(result AS text) FROM task ORDER BY created_at"), {}
    )
    assert list(found.scalars()) == ['"acme 1 5.0"', '" 2 5.0"']
    assert said.count("TaskSettled invoices.send") == 2
