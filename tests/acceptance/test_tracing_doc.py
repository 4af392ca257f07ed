"""The files of docs/tracing.md and docs/sentry.md, run as it says there."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, environment_of
from uow import Settings


def files_of(page: str, where: Path) -> None:
    text = (ROOT / "docs" / page).read_text()
    files = re.findall(r"`(\w+\.py)`[^`]*:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert len(files) == text.count("```python")
    for name, source in files:
        (where / name).write_text(source)


def run(where: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=where, env=environment,
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def spans_in(output: str) -> dict[str, Any]:
    """What the console's exporter has printed: one JSON object after the other."""
    decoder, found = json.JSONDecoder(), {}
    while output := output.strip():
        span, end = decoder.raw_decode(output)
        found[span["name"]] = span
        output = output[end:]
    return found


@pytest.mark.timeout(90)
async def test_a_request_its_task_and_its_sql_are_one_trace(
    tmp_path: Path, settings: Settings
) -> None:
    files_of("tracing.md", tmp_path)
    environment = environment_of(settings, WORKER_TASK_MODULES="shop")
    asked = spans_in(run(tmp_path, environment, "ask.py"))
    done = spans_in(run(tmp_path, environment, "-m", "uow", "run", "--burst"))
    request, send, process = (
        asked["POST /orders"],
        asked["send arq:queue"],
        done["process arq:queue"],
    )
    (select,) = [span for name, span in done.items() if name.startswith("SELECT")]
    line = [request, send, process, select]
    assert len({span["context"]["trace_id"] for span in line}) == 1
    assert [span["parent_id"] for span in line] == [
        None, *(span["context"]["span_id"] for span in line[:3])
    ]  # fmt: skip
    off = {**environment, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "uow"}
    assert "send arq:queue" not in spans_in(run(tmp_path, off, "ask.py"))


REPORTED = """
import json, sys
import sentry_sdk
from sentry_sdk.transport import Transport

class Printed(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            print(json.dumps(item.payload.json, default=str), flush=True)

init, ours = sentry_sdk.init, {"dsn": "https://k@localhost/1", "transport": Printed}
sentry_sdk.init = lambda **options: init(**{**options, **ours})
if sys.argv[1] == "arq":
    from arq.cli import cli as main
else:
    from uow.__main__ import main
sys.argv = sys.argv[1:]
main()
"""


@pytest.mark.timeout(150)  # nine processes that import everything anew
async def test_what_fails_is_reported_once_with_all_of_sentrys_own_integrations(
    tmp_path: Path, settings: Settings
) -> None:
    files_of("sentry.md", tmp_path)
    (tmp_path / "reported.py").write_text(REPORTED)
    environment = environment_of(settings, WORKER_TASK_MODULES="shop")
    command = ("-m", "uow", "enqueue", "orders.charge", "card=4000-0000")
    ours = ("worker", "run", "--burst")
    for worker in (ours, (*ours, "--stock"), ("arq", "uow.main.WorkerSettings", "--burst")):
        run(tmp_path, environment, *command)
        output = ""
        for _ in range(2):
            output += run(tmp_path, environment, "reported.py", *worker)
        reported = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        (event,) = [one for one in reported if "exception" in one]
        assert event["exception"]["values"][-1]["type"] == "ValueError"
        assert event["tags"]["task.attempt"] == 2
        of_tasks = [one for one in reported if one.get("type") == "transaction"
                    and one["contexts"]["trace"]["op"].startswith("queue")]  # fmt: skip
        assert [one["contexts"]["trace"]["op"] for one in of_tasks] == ["queue.process"] * 2
        assert "4000-0000" not in output
