"""The examples of docs/telemetry.md, run by a worker as they stand there."""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import ROOT, environment_of, run_logged
from uow import Settings, TaskClient, TaskHandle
from uow.metrics import metrics

EXAMPLES = re.findall("```python\n(.*?)```", (ROOT / "docs/telemetry.md").read_text(), re.S)

LOGGING, STRUCTLOG, MOUNTED = EXAMPLES

TASK = """
import logging

from uow import TaskContext, task

@task("invoices.send")
async def send(ctx: TaskContext, invoice_id: int) -> None:
    logging.getLogger("invoices").info("sent", extra={"invoice": invoice_id})
"""


async def run(
    folder: Path, settings: Settings, client: TaskClient, *arguments: str
) -> tuple[TaskHandle[Any], list[dict[str, Any]]]:
    """Run one task of the module in `folder`; returns its handle, and the lines of the worker."""
    handle = await client.enqueue("invoices.send", invoice_id=7)
    environment = environment_of(settings, WORKER_TASK_MODULES="documented_log")
    command = [sys.executable, "-m", "uow", "run", "--burst", *arguments]
    worker = run_logged(command, environment, cwd=folder)
    try:
        assert worker.wait(60) == 0, worker.log
    finally:
        worker.kill9()
    return handle, [json.loads(line) for line in worker.lines]


@pytest.mark.timeout(120)
async def test_structlog_tells_the_task_in_its_own_lines_and_in_ours(
    tmp_path: Path, settings: Settings, client: TaskClient
) -> None:
    (tmp_path / "documented_log.py").write_text(STRUCTLOG)
    handle, lines = await run(tmp_path, settings, client)
    (sent,) = [one for one in lines if one["event"] == "sent"]
    assert (sent["invoice"], sent["task"], sent["attempt"]) == (7, "invoices.send", 1)
    (ended,) = [one for one in lines if "←" in one["event"]]
    assert sent["task_id"] == ended["task_id"] == str(handle.id)
    assert ended["logger"] == "arq.worker"


@pytest.mark.timeout(120)
async def test_handlers_of_ones_own_get_the_fields(
    tmp_path: Path, settings: Settings, client: TaskClient
) -> None:
    (tmp_path / "documented_log.py").write_text(LOGGING + TASK)
    handle, lines = await run(
        tmp_path, settings, client, "--custom-log-dict", "documented_log.LOGGING"
    )
    (sent,) = [one for one in lines if one["message"] == "sent"]
    assert (sent["invoice"], sent["task_id"]) == (7, str(handle.id))
    (ended,) = [one for one in lines if "←" in one["message"]]
    assert ended["task_id"] == str(handle.id)


async def test_the_app_is_mounted_as_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics._Here, "metrics", None)
    names: dict[str, Any] = {}
    exec(compile(ast.parse(MOUNTED), "telemetry.md", "exec"), names)
    transport = httpx.ASGITransport(app=names["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as http:
        answer = await http.get("/metrics/")
    assert "worker_build_info{" in answer.text
