"""Builds the wheel, looks into it, installs it alone, and does a task's whole way with it.

    uv run --no-project tools/try_wheel.py

The environment is a new one, and of this folder nothing can be seen from it. Its versions are the
exact ones of pyproject.toml.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent

KINDS = {".py", ".lua", ".typed"}
"""What is in uow/; the wheel has all of it."""

TASKS = """
from sqlalchemy import text
from uow import TaskContext, task


@task("wheel.double")
async def double(ctx: TaskContext, n: int) -> int:
    async with ctx["db"].get_session() as session:
        return await session.scalar(text("SELECT 2 * CAST(:n AS integer)"), {"n": n})
"""

WHOLE_WAY = """
import asyncio
import os
import subprocess
import sys
from pathlib import Path

import uow
from uow.embedded import EmbeddedPostgres, EmbeddedRedis

assert "site-packages" in uow.__file__, uow.__file__
worker = str(Path(sys.executable).with_name("worker"))


async def ask() -> uow.TaskHandle[int]:
    from tasks import double

    async with uow.Database.from_settings() as db, db.get_session() as session:
        return await double.enqueue(session, n=21)


async def answer(handle: uow.TaskHandle[int]) -> None:
    async with uow.TaskClient.from_settings():
        assert await handle.result(timeout=10) == 42
    print("21 doubled is 42")


with EmbeddedPostgres() as postgres, EmbeddedRedis() as redis:
    os.environ |= {"WORKER_DATABASE_URL": postgres.url, "WORKER_REDIS_URL": redis.url,
                   "WORKER_TASK_MODULES": "tasks"}
    subprocess.run([worker, "migrate"], check=True)
    handle = asyncio.run(ask())
    subprocess.run([worker, "run", "--burst"], check=True, stderr=subprocess.DEVNULL)
    asyncio.run(answer(handle))
"""


def build(folder: Path) -> Path:
    """The wheel."""
    uv("build", "--wheel", "--quiet", "--out-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def faults_of(wheel: Path) -> list[str]:
    """What is in the wheel and should not be, or the other way round."""
    with ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        described = archive.read(metadata).decode()
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "uow").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    lacking = KINDS - {Path(name).suffix for name in there}
    urls = re.findall(r"^Project-URL: (\w+), https://\S+$", described, re.MULTILINE)
    return [
        *(f"{name} is in the wheel" for name in sorted(there - wanted)),
        *(f"{name} is not in the wheel" for name in sorted(wanted - there)),
        *(f"the wheel has no file {kind}" for kind in sorted(lacking)),
        *([] if "Documentation" in urls else ["the wheel does not say where its documentation is"]),
    ]


def uv(*arguments: str, where: Path = ROOT) -> None:
    """Run uv."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run(["uv", *arguments], check=True, cwd=where, env=environment)


def try_alone(wheel: Path, folder: Path) -> None:
    """Install it without any extra: the import, and a command that says what is missing."""
    install(folder, str(wheel))
    python = folder / "bin" / "python"
    run(folder, str(python), "-c", "import uow; [getattr(uow, name) for name in uow.__all__ "
        "if name != 'SessionDep']")  # fmt: skip
    told = run(folder, str(python.with_name("worker")), "--help", fails=True)
    if "uow-worker[run]" not in told:
        sys.exit(f"the command of a bare install does not say what it needs: {told}")


def try_whole_way(wheel: Path, folder: Path) -> None:
    """Install what a worker needs; enqueue and run a task on servers of its own."""
    install(folder, f"{wheel}[run,embedded]")
    (folder / "tasks.py").write_text(TASKS)
    (folder / "whole_way.py").write_text(WHOLE_WAY)
    python = folder / "bin" / "python"
    helped = run(folder, str(python.with_name("worker")), "--help")
    if "migrate" not in helped:
        sys.exit(f"worker --help shows no commands: {helped}")
    print(run(folder, str(python), "whole_way.py"), end="")


def install(folder: Path, requirement: str) -> None:
    """A new environment in `folder`, with the exact versions."""
    exact = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    (folder / "exact.txt").write_text("\n".join(exact["constraint-dependencies"]))
    uv("venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder))
    uv("pip", "install", "--quiet", "--python", str(folder / "bin" / "python"),
       "--constraints", "exact.txt", requirement, where=folder)  # fmt: skip


def try_extras(wheel: Path, folder: Path) -> None:
    """See that each extra has what it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ",".join(project["optional-dependencies"])
    uv("pip", "install", "--quiet", "--dry-run", "--python", str(folder / "bin" / "python"),
       "--constraints", "exact.txt", f"{wheel}[{extras}]", where=folder)  # fmt: skip


def run(where: Path, *command: str, fails: bool = False) -> str:
    """Run a command of the new environment, which sees nothing of this one; what it says."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        command, cwd=where, env=kept, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if (done.returncode != 0) != fails:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def main() -> None:
    """Try it all."""
    if shutil.which("uv") is None:
        sys.exit("uv is not on the PATH: pip install uv")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # as root, servers run as somebody else
        wheel = build(folder)
        if faults := faults_of(wheel):
            sys.exit("\n".join(faults))
        for attempt in (try_alone, try_whole_way, try_extras):
            place = folder / ("alone" if attempt is try_alone else "worker")
            place.mkdir(exist_ok=True)
            attempt(wheel, place)
        print(f"{wheel.name} is whole, and works where nothing else is")


if __name__ == "__main__":
    main()
