"""Where a server lives and who runs it: one private directory, owned by the server's account."""

import fcntl
import os
import pwd
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from uow.errors import EmbeddedServerError

LONGEST_HOME = 88
"""Bytes: a socket's path may have 103 (macOS; Linux 107), "/.s.PGSQL.65535" takes 15."""

LOCK_SECONDS = 5.0
"""How long a start waits for a server that is still ending in the same directory."""


@dataclass(frozen=True)
class Account:
    """Who runs a server: we ourselves (no ids), or somebody in our stead because we are root."""

    uid: int | None = None
    gid: int | None = None

    @property
    def groups(self) -> list[int] | None:
        """Supplementary groups: none of root's for somebody else; None keeps our own."""
        return None if self.uid is None else []

    def can_reach(self, path: Path) -> bool:
        """Whether it may enter every directory above `path`, and execute or enter `path`."""
        real = path.resolve()
        return self.uid is None or all(
            self._may_enter(step.stat()) for step in (real, *real.parents)
        )

    def _may_enter(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


@dataclass(frozen=True)
class Home:
    """A server's directory and the account that it belongs to."""

    path: Path
    account: Account
    is_temporary: bool

    def give(self, path: Path) -> None:
        """Make something that we put here the server's own."""
        if self.account.uid is not None and self.account.gid is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    @property
    def log(self) -> Path:
        """Where the server writes what it has to say."""
        return self.path / "server.log"

    def open_log(self) -> int:
        """Open the log for a server that is about to start; its descriptor carries a lock.

        Server and children inherit it, so it is free when the last of them is gone: after a
        `kill9`, or when the process that started them has just died.

        Raises:
            EmbeddedServerError: Another server is running in this directory, or it is not ours.
        """
        # Not through a link: we may be root, and the directory is another account's.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        try:
            log = os.open(self.log, flags, mode=0o600)
        except OSError as error:
            raise EmbeddedServerError(f"no log can be written: {error}") from error
        self.give(self.log)
        deadline = time.monotonic() + LOCK_SECONDS
        while not _lock(log):
            if time.monotonic() > deadline:
                os.close(log)
                raise EmbeddedServerError(f"another server is running in {self.path}")
            time.sleep(0.005)
        return log

    def close(self) -> None:
        """Remove the directory if it was made for this server alone."""
        if self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)


def open_home(name: str, directory: str | Path | None) -> Home:
    """The home of the server `name`: in `directory`, which is kept, or a fresh temporary one.

    In a given directory only the subdirectory `name` is ours, so that both servers can share it
    and nothing that was there before changes its owner or mode.

    Raises:
        EmbeddedServerError: The directory cannot be made, its path is too long for a socket, or
            the account that has to run the server cannot reach it.
    """
    try:
        path = _make_directory(name, directory)
        account = _account_for(path) if os.geteuid() == 0 else Account()
    except OSError as error:
        raise EmbeddedServerError(f"no directory for {name}: {error}") from error
    home = Home(path, account, is_temporary=directory is None)
    home.give(path)
    if not account.can_reach(path):
        home.close()
        raise EmbeddedServerError(
            f"{path} lies in a directory that uid {account.uid}, which has to run {name} for"
            " root, cannot enter; give one that every account can (for temporary ones: TMPDIR)"
        )
    return home


def _make_directory(name: str, directory: str | Path | None) -> Path:
    if directory is None:
        _check_length(Path(tempfile.gettempdir()) / f"{name}-12345678")
        return Path(tempfile.mkdtemp(prefix=f"{name}-"))
    path = Path(directory).absolute() / name
    _check_length(path)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _check_length(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > LONGEST_HOME:
        raise EmbeddedServerError(
            f"the path {path} is too long for a Unix socket in it: {length} bytes,"
            f" {LONGEST_HOME} are possible; give a shorter directory (or TMPDIR)"
        )


def _account_for(path: Path) -> Account:
    """Postgres refuses root: the one who owns what was kept there, else `nobody`."""
    owner = path.stat()
    if owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServerError(
            "root cannot run the servers itself and there is no account `nobody` to do it;"
            " start as an ordinary user"
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
