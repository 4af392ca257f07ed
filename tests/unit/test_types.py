"""`uow.Settings` in the eyes of type checkers that know nothing of pydantic."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

USE = ROOT / "tests" / "typing" / "settings_in_code.py"

CHECKERS = {
    "mypy": ["mypy", "--strict", "--config-file=", "--no-incremental", "use.py"],
    "pyright": ["basedpyright", "--level=error", f"--pythonpath={sys.executable}", "use.py"],
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("checker", CHECKERS)
def test_settings_type_check_without_a_plugin(checker: str, tmp_path: Path) -> None:
    shutil.copy(USE, tmp_path / "use.py")
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    program, *arguments = CHECKERS[checker]
    checked = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
