"""The tool that measures lists and questions: nothing else runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_each_list_is_measured_and_takes_at_most_four_statements() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "list_costs.py", "--settled", "2000", "--waiting", "2000",
         "--repeat", "2"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert not done.stderr
    measured = re.findall(r"^(.{28}) *[\d.]+ms *[\d.]+ms  (\d)  ", done.stdout, re.MULTILINE)
    assert {name.strip() for name, _ in measured} >= {
        "all", "rare name", "running", "one task", "why: queued", "queues", "overview", "audit",
    }  # fmt: skip
    # The servers are asked part by part, each of which may fail.
    assert max(int(n) for name, n in measured if name.strip() != "servers") <= 4
