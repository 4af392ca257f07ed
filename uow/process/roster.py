"""Where the processes of this host are found: each listens on a unix socket of its own.

They are in a folder of the user's, ``/tmp/uow-worker-<uid>``, or under ``/dev/shm`` where ``/tmp``
cannot be written. A name is ``<pid>-<app>-<n>.sock``, the app as a checksum, n among those of the
process. One that nobody listens on any more was left by a process that was killed; whoever meets it
removes it.

Imports next to nothing, and no dataclasses: `worker check` is to take no time.
"""

import binascii
import contextlib
import itertools
import os
import re
import socket
import stat
from collections.abc import Iterator
from typing import NamedTuple

FOLDERS = ("/tmp", "/dev/shm")  # noqa: S108 - in it is a folder that is ours alone
"""Not ``TMPDIR``: a service and the shell that asks after it seldom agree about that."""

BACKLOG = 64

_NAME = re.compile(r"(\d+)-([0-9a-f]{8})-\d+\.sock")

_numbers = itertools.count()


class Entry(NamedTuple):
    """A socket that is there, whether or not somebody listens.

    Attributes:
        path: Its path.
        pid: Of the process that has made it.
        app: The checksum of its app.
    """

    path: str
    pid: int
    app: str

    def remove(self) -> None:
        """Nobody listens on it."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - pathlib is a tenth of the time of `worker check`


def checksum(app: str) -> str:
    """What stands for an app in a name; two that are alike are a false alarm at worst."""
    return f"{binascii.crc32(app.encode()):08x}"


def entries(pid: int | None = None) -> Iterator[Entry]:
    """Those of this user's processes, or of one of them."""
    for folder in map(_folder, FOLDERS):
        if not _is_ours(folder):
            continue
        for name in sorted(os.listdir(folder)):  # noqa: PTH208
            found = _NAME.fullmatch(name)
            if found is not None and pid in (None, int(found[1])):
                yield Entry(f"{folder}/{name}", int(found[1]), found[2])


def listen(app: str) -> tuple[socket.socket, Entry]:
    """A socket for this process, on which it is found from now on.

    Raises:
        OSError: There is no folder in which we may make one.
    """
    problem = OSError("nowhere")
    for folder in map(_folder, FOLDERS):
        try:
            return _listen_in(folder, app)
        except OSError as error:
            problem = error
    raise problem


def _listen_in(folder: str, app: str) -> tuple[socket.socket, Entry]:
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)  # noqa: PTH102
    if not _is_ours(folder):
        raise OSError(f"{folder} is not ours alone")
    pid = os.getpid()
    name = f"{folder}/{pid}-{checksum(app)}-{next(_numbers)}"
    entry, unfinished = Entry(f"{name}.sock", pid, checksum(app)), f"{name}.new"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)  # noqa: PTH108
        listener.bind(unfinished)
        listener.listen(BACKLOG)
        # Found only now: one that nobody listens on yet would be taken for a dead one's.
        os.rename(unfinished, entry.path)  # noqa: PTH104
    except OSError:
        listener.close()
        raise
    return listener, entry


def _folder(parent: str) -> str:
    return f"{parent}/uow-worker-{os.getuid()}"


def _is_ours(folder: str) -> bool:
    """Whether it is there and nobody else may write into it: /tmp is everybody's."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    mode = found.st_mode
    return stat.S_ISDIR(mode) and found.st_uid == os.getuid() and not mode & 0o077
