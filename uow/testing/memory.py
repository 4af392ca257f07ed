"""A directory in memory for the throwaway Postgres: copying a database is copying some 340 files.

A disk takes several times as long for that, most of all one that others use, too. What a killed
session of pytest has left there is removed by the next one that starts.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's, and nothing is there whose name is known
PREFIX = "uow-testing-"

ENOUGH_BYTES = 1 << 30
"""Free; a server has some 80 MB there, and in a container there may be 64 in all."""


@contextlib.contextmanager
def directory_in_memory(where: Path = SHARED_MEMORY) -> Iterator[Path | None]:
    """A directory of ours for the block; None: there is no room for one."""
    if not _has_room(where):
        yield None
        return
    _remove_left_behind(where)
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where))
    path.chmod(0o711)  # as root we run Postgres as somebody else, whose own directory is in it
    try:
        with (path / "lock.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # while we live; nobody finds it without
            (path / "lock.new").rename(path / "lock")
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _has_room(where: Path) -> bool:
    try:
        return os.access(where, os.W_OK) and shutil.disk_usage(where).free >= ENOUGH_BYTES
    except OSError:
        return False


def _remove_left_behind(where: Path) -> None:
    for path in where.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (path / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
