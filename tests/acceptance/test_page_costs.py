"""The tool that measures pages: nothing else runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_each_page_is_measured_and_takes_at_most_four_statements() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "page_costs.py", "--settled", "2000", "--waiting", "2000",
         "--repeat", "2"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert not done.stderr
    measured = re.findall(r"^(.{28}) *[\d.]+ms *[\d.]+ms  (\d)  ", done.stdout, re.MULTILINE)
    assert {name.strip() for name, _ in measured} >= {
        "overview", "tasks", "task, failed", "queues", "queue", "names", "name", "users", "user",
        "schedules", "workers", "failures", "audit",
    }  # fmt: skip
    assert max(int(statements) for _, statements in measured) <= 4
