"""The exact versions that `uv run` installs: written anew, or left out to try the newest.

    uv run --no-project tools/versions.py pin
    uv run --no-project tools/versions.py newest [arguments of pytest]

They stand in pyproject.toml, as constraints, and not in a lock file, which would carry the
addresses of the registry that it was made with.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent

BEGIN = "# Exact versions, for every Python that we support; written by `make constraints`."
END = "# End of the exact versions."

OLDEST_PYTHON = "3.11"

GROUPS = ("dev", "docs")
"""What CI installs."""

BUILDS = ("hatchling", "editables")
"""What builds the package, also as it lies there: `editables` is what hatchling asks for then."""


def pin(project: Path) -> None:
    """Write the newest versions that the ranges allow into `project`."""
    bare = without_versions(project.read_text())
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "pyproject.toml")
        copy.write_text(bare)
        groups = [option for name in GROUPS for option in ("--group", f"{copy}:{name}")]
        installed = newest(str(copy), *groups, "--no-emit-package", "uow-worker")
        copy.with_name("builds.in").write_text("\n".join(BUILDS))
        builds = newest(str(copy.with_name("builds.in")))
    block = [BEGIN, *listed("constraint", installed), *listed("build-constraint", builds), END]
    project.write_text(f"{bare.rstrip()}\n\n" + "\n".join(block) + "\n")


def without_versions(text: str) -> str:
    """`text` of a pyproject.toml, without the block."""
    return re.sub(f"\n{re.escape(BEGIN)}.*{re.escape(END)}\n", "", text, flags=re.DOTALL)


def newest(*arguments: str) -> list[str]:
    """Requirements with the newest versions, for all systems at once."""
    options = ["--universal", "--python-version", OLDEST_PYTHON, "--no-header", "--no-annotate"]
    command = ["uv", "pip", "compile", "--quiet", "--upgrade", *options, *arguments]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return found.stdout.splitlines()


def listed(kind: str, requirements: list[str]) -> list[str]:
    """The setting of uv that holds `requirements` to their versions."""
    return [f"{kind}-dependencies = [", *(f'    "{one}",' for one in requirements), "]"]


def run_newest(arguments: list[str]) -> int:
    """Run the tests in a copy of the project that knows no exact versions."""
    with tempfile.TemporaryDirectory() as folder:
        project = copy_of_project(Path(folder)) / "pyproject.toml"
        project.write_text(without_versions(project.read_text()))
        run = partial(subprocess.run, cwd=folder, env=outside())
        run(["uv", "sync", "--quiet"], check=True)
        run(["uv", "pip", "list"], check=True)
        return run(["uv", "run", "pytest", *arguments], check=False).returncode


def copy_of_project(folder: Path) -> Path:
    """Put what git knows, or would take, into `folder`; returns it."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ).stdout  # fmt: skip
    for name in filter(None, tracked.split("\0")):
        if not (ROOT / name).exists():  # deleted, and not committed yet
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return folder


def outside() -> dict[str, str]:
    """The environment variables without the virtual environment that this runs in, if any."""
    return {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pin"]:
            pin(ROOT / "pyproject.toml")
        case ["newest", *arguments]:
            sys.exit(run_newest(arguments))
        case _:
            sys.exit(__doc__)
