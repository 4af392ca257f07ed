"""What this process itself has run out of: no server is to blame, and waiting for one is no help.

Without a free file descriptor nothing can be opened, and every error of that looks like a server
that is away: a connection that was not to be had, a name that was not found. So whoever meets such
an error asks here first. What is lacking is named once; nothing more is claimed until it is there
again; and if that takes long the process ends with an error, for whoever started it to start it
anew. Its leases are kept meanwhile: for them everything is open, and read, from the start.
"""

import errno
import logging
import os
import time

from uow.causes import chain_of
from uow.errors import Exhausted, SettingsError

logger = logging.getLogger(__name__)

LIMIT_SECONDS = 30.0
"""A lack that lasts for longer ends the process."""

CALM_SECONDS = 5.0
"""It is over when nobody has met it for so long."""

OWN_DESCRIPTORS = 64
"""What a process has open beside its pools: modules, event loops, the heart's connections."""

DESCRIPTORS_PER_SLOT = 2
"""A connection to Redis, and something of the task's own."""

SPARE_DESCRIPTORS = 8
"""Kept in hand for the orderly end of a process that has no others left."""

_CODES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Exhaustion:
    """The state of this process: there is one of it, `here`."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._last = 0.0
        self._what = ""
        self._spare: list[int] = []
        self._ends = False

    def explains(self, error: BaseException) -> str | None:
        """What is lacking, if that is why nothing could be opened; says so once.

        Args:
            error: Of our own dealings with a server: a task may have its errors from anywhere.
        """
        return self._note(_code_of(error) or _found_by_trying())

    def look(self) -> None:
        """Look whether something is lacking: a task has met what may come of that."""
        self._note(_found_by_trying())

    def lasts(self) -> float:
        """For how many seconds something has been lacking; 0: nothing is."""
        since = self._since  # the heart's thread asks, too
        if since is None:
            return 0.0
        now = time.monotonic()
        if _found_by_trying() is not None:
            self._last = now
        elif now - self._last >= CALM_SECONDS and not self._ends:
            logger.warning("what this process was out of is there again")
            self._since = None
            return 0.0
        return now - since

    def hopeless(self) -> Exhausted | None:
        """Why the process has to end, if something has been lacking for too long.

        Who asks ends it: nothing is claimed from then on.
        """
        if self.lasts() <= LIMIT_SECONDS:
            return None
        self._ends = True  # what is given up now is not there again
        self._give_up_spare()
        return Exhausted(f"{self._what}, for more than {LIMIT_SECONDS:g} s: ends")

    def begin_again(self) -> None:
        """Another worker begins in a process that an earlier one has left because of a lack."""
        self._ends = False

    def keep_spare(self) -> None:
        """Keep `SPARE_DESCRIPTORS` in hand."""
        if not self._spare:
            self._spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(SPARE_DESCRIPTORS)]

    def _give_up_spare(self) -> None:
        while self._spare:
            os.close(self._spare.pop())

    def _note(self, code: int | None) -> str | None:
        if code is None:
            return None
        self._last = time.monotonic()
        what = self._what = _in_words(code)
        if self._since is None:
            self._since = self._last
            logger.error(
                "%s: claims nothing more until that is over, and ends after %g s; is there a task "
                "that does not close what it opens?", what, LIMIT_SECONDS,
            )  # fmt: skip
        return what


here = Exhaustion()


def make_room(slots: int, pool_size: int) -> None:
    """Have this process be allowed as many descriptors as its slots and its pool may need.

    Raises:
        SettingsError: The hard limit is below that; with both numbers.
    """
    import resource  # a service that only enqueues may be where there is none

    needed = OWN_DESCRIPTORS + pool_size + DESCRIPTORS_PER_SLOT * slots
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited and hard < needed:
        raise SettingsError(
            f"RLIMIT_NOFILE={hard} is too low: {slots} tasks at once, and {pool_size} connections "
            f"to Postgres, may need {needed} file descriptors. Raise it (LimitNOFILE= of systemd, "
            "--ulimit nofile= of Docker, ulimit -Hn), or run fewer tasks at once"
        )
    if soft != unlimited and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    here.keep_spare()


def _code_of(error: BaseException) -> int | None:
    for link in chain_of(error, "__cause__", "__context__"):
        if isinstance(link, MemoryError):
            return errno.ENOMEM
        if isinstance(link, OSError):
            for code in _CODES:  # asyncio puts the errors of several addresses into one text
                if link.errno == code or (link.errno is None and os.strerror(code) in str(link)):
                    return code
    return None


def _found_by_trying() -> int | None:
    """What is lacking now: not every error tells, as that of a name that was not found."""
    try:
        for end in os.pipe():
            os.close(end)
    except OSError as error:
        return error.errno if error.errno in _CODES else None
    return None


def _in_words(code: int) -> str:
    if code == errno.EMFILE:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"this process is out of file descriptors (RLIMIT_NOFILE={limit})"
    if code == errno.ENFILE:
        return "this machine is out of file descriptors (fs.file-max)"
    return "this process is out of memory"
