"""A child process does not outlive us, however we end.

Linux tells a child itself that its parent has died. Elsewhere a watcher has to: a small shell whose
standard input ends when we do, and which then signals the child. The watcher can be killed, and
knows the child by its pid alone; so that way is the best there is, not as good.
"""

import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable

KERNEL_SIGNALS_ORPHANS = sys.platform == "linux"
"""Whether the kernel can tell a child that its parent died; elsewhere a watcher has to."""

PR_SET_PDEATHSIG = 1

_WATCHER = 'read -r _; kill -"$2" "$1"'

_libc = ctypes.CDLL(None)


def tie_to_us(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child has to do before its program, to be sent this signal when we die.

    For `preexec_fn` of `subprocess.Popen`; None where a `Watcher` is needed. The kernel takes the
    end of the *thread* that forks for our death, so that thread has to live as long as we do.
    """
    if not KERNEL_SIGNALS_ORPHANS:
        return None
    return functools.partial(_die_with_parent, os.getpid(), death_signal)


def die_with(parent: int, death_signal: signal.Signals) -> None:
    """For a child, as the first thing that it does: be sent this signal when its parent dies.

    Where the kernel does not do that, it has to look by itself. One whose parent is gone already
    ends here.
    """
    if KERNEL_SIGNALS_ORPHANS:
        _die_with_parent(parent, death_signal)
    elif os.getppid() != parent:
        os._exit(1)


def watch(pid: int, death_signal: signal.Signals) -> "Watcher | None":
    """A watcher of this child of ours, where the kernel does not do it."""
    return None if KERNEL_SIGNALS_ORPHANS else Watcher(pid, death_signal)


class Watcher:
    """A child whose standard input ends when we do.

    Args:
        pid: What it signals then.
        death_signal: The signal.
    """

    def __init__(self, pid: int, death_signal: signal.Signals) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own script
            ["/bin/sh", "-c", _WATCHER, "watcher", str(pid), str(int(death_signal))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # nobody is left to read that the child was gone before us
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The child needs it no longer; before it is reaped, for then its pid is free."""
        self._process.kill()
        self._process.communicate()  # closes the pipe and reaps it


def _die_with_parent(parent: int, death_signal: signal.Signals) -> None:
    # Between fork and exec: as little as possible, and nothing that could want a lock.
    _libc.prctl(PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:  # died before we could ask to be told
        os._exit(1)
