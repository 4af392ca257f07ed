"""`WORKER_STORAGE_DIR`: the one folder that file tasks read from and write to.

Everything here blocks; call it in a thread.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from worker.errors import FileRefused


def resolve_inside(folder: Path, path: str) -> Path:
    """The real place of `path` in `folder`, with symbolic links followed.

    Raises:
        FileRefused: It leads out of the folder, or is no path.
    """
    root = folder.resolve()
    try:
        found = (root / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL character
        raise FileRefused(f"{path!r} is not a path") from error
    if not found.is_relative_to(root):
        raise FileRefused(f"{path!r} leads out of WORKER_STORAGE_DIR")
    return found


def find_file(folder: Path, path: str) -> Path:
    """As `resolve_inside`, for a file to read.

    Raises:
        FileRefused: As there; or it is not there, or is no regular file.
    """
    found = resolve_inside(folder, path)
    try:
        regular = found.is_file()
    except OSError as error:  # a name that is too long
        raise FileRefused(f"{path!r} is not a path") from error
    if not regular:
        raise FileRefused(f"there is no file {path!r} in WORKER_STORAGE_DIR")
    return found


def nameless_file(folder: Path) -> BinaryIO:
    """A file in `folder` that nobody else sees, and that is gone when it is closed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


@contextmanager
def written_atomically(target: Path) -> Iterator[BinaryIO]:
    """A file that nobody but its owner can read, and that is at `target` whole or not at all.

    A process that is killed meanwhile leaves a hidden ``.part`` file beside it.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)  # the task's row will say that the file is there
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
