"""Users' code in the eyes of type checkers, without a plugin that knows pydantic."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TYPING = ROOT / "tests" / "typing"

CHECKERS = {
    "mypy": ["mypy", "--strict", "--config-file=", "--no-incremental", "use.py"],
    "pyright": ["basedpyright", "--level=error", f"--pythonpath={sys.executable}", "use.py"],
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("use", ["settings_in_code", "contexts_of_tasks", "sync_in_code"])
def test_users_code_type_checks_without_a_plugin(use: str, checker: str, tmp_path: Path) -> None:
    shutil.copy(TYPING / f"{use}.py", tmp_path / "use.py")
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    program, *arguments = CHECKERS[checker]
    checked = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
