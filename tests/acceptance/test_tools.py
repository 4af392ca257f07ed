"""The tools of a clone: nothing else runs them, so nothing else says that one is broken."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = sorted((ROOT / "tools").glob("*.py"))

IMPORT = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='a tool')"


def output_of(*command: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=100, env={"PYTHONPATH": str(ROOT / "tools")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: str(path.name))
def test_a_tool_finds_what_it_imports(path: Path) -> None:
    output_of("-c", IMPORT, path)


@pytest.mark.timeout(120)
def test_the_costs_of_calls_are_measured() -> None:
    told = output_of(ROOT / "tools" / "call_costs.py", 3)
    assert re.search(r"a thread costs -?\d+ per call and -?\d+ per statement more", told)
    assert re.search(r"a warm child process: \d+ per call", told)


@pytest.mark.timeout(120)
def test_the_costs_of_extensions_are_measured() -> None:
    told = output_of(ROOT / "tools" / "extension_costs.py", 1, 100)
    title, *lines = told.splitlines()
    assert title.split()[-2:] == ["of", "100"]
    for line in lines:
        assert re.search(r"\d\.\d +[+-]\d+\.\d +[+-]\d+\.\d +-?\d+\.\d%$", line), told
    assert {"metrics", "tracing, sampled out", "INFO lines as JSON"} <= {
        re.split(r"\s{2,}", line)[0] for line in lines
    }
