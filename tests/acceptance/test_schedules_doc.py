"""The example of docs/schedules.md, registered and fired."""

import re
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.processes import ROOT
from uow import Database, Settings, TaskClient
from uow.schedules.registrar import Registrar
from uow.schedules.scheduler import Scheduler
from uow.tasks.registry import Registry


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    (source,) = re.findall("```python\n(.*?)```", (ROOT / "docs/schedules.md").read_text(), re.S)
    (tmp_path / "documented_reports.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry()
    monkeypatch.setattr("uow.tasks.definition.default_registry", registry)
    registry.load(["documented_reports"])
    monkeypatch.delitem(sys.modules, "documented_reports")
    return registry


async def test_the_example_has_its_schedules_and_their_names(
    db: Database, settings: Settings, client: TaskClient, registry: Registry
) -> None:
    await Registrar(db, registry.schedules, settings).run_once()
    found = await client.schedules.all()
    names = ["prices.refresh", "reports.send(kind=daily)", "reports.send(kind=weekly)"]
    assert [one.name for one in found] == names
    await db.execute_once(text("UPDATE schedule SET next_tick = now() - interval '1 s'"), {})
    assert await Scheduler(db, wake_relay=lambda: None).run_once() == 3
