"""What a fork of a worker process must not share with it.

A task may fork: `multiprocessing` does, where it is not told otherwise. The child is a copy in
which one thread goes on. It has our signal handlers, which would tell *our* event loop; our
connections, on which two would speak at once; and our loops' list of what they wait for, which the
kernel keeps for both. So a child, before anything else:

- takes signals as any new process does, so that `terminate()` ends it and not us;
- has dead sockets in place of the connections that our loops wait for: nothing is sent on them, not
  even a farewell, and what was left open there is an error of the child's own;
- ends, should it ever come back to our event loop, as it does after `sys.exit` in a task.

Threads are not copied, so there is neither a heart nor a deadline. A program that is started
(`subprocess`, the methods `spawn` and `forkserver`) is no copy.
"""

import asyncio
import logging
import os
import re
import select
import signal
import socket
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

from uow.process.signals import STOP_SIGNALS

logger = logging.getLogger(__name__)

_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, "_Kept"] = WeakKeyDictionary()
"""The event loops that workers run on."""

_mask = threading.local()

_WATCHED = re.compile(r"^tfd:\s*(\d+)", re.MULTILINE)


@dataclass(slots=True)
class _Kept:
    """An event loop.

    Attributes:
        thread: It runs on this one.
        listens: Whether what listens on it is ours, and none of a fork's.
        workers: How many there are on it: several may be in one process of somebody else's.
    """

    thread: int
    listens: bool
    workers: int = 0


class _Signals:
    """Whether the handlers of this process are a worker's: those of an application are its own."""

    ours = False


def keep_from(
    loop: asyncio.AbstractEventLoop, *, signals: bool = True, listens: bool = False
) -> None:
    """Keep forks of this process from `loop`, which runs on this thread.

    Args:
        signals: And from our handlers of signals: the process is the worker's.
        listens: And from what listens on that loop, which would outlive us in a fork.
    """
    _loops.setdefault(loop, _Kept(threading.get_ident(), listens)).workers += 1
    _Signals.ours |= signals
    _watch_forks()


def release(loop: asyncio.AbstractEventLoop) -> None:
    """The worker on `loop` has ended: forks are no business of ours any more."""
    if (kept := _loops.get(loop)) is not None:
        kept.workers -= 1
        if not kept.workers:
            del _loops[loop]


@cache
def _watch_forks() -> None:
    os.register_at_fork(
        before=_hold_signals, after_in_parent=_release_signals, after_in_child=_part
    )


def _hold_signals() -> None:
    # One that comes before the child has handlers of its own would be told to us.
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _part() -> None:
    """In the child: have nothing in common with the parent any more."""
    try:
        if _Signals.ours:
            _forget_signals()
        ours = [item for item in _loops.items() if not item[0].is_closed()]
        _loops.clear()
        for loop, kept in ours:
            if hasattr(select, "epoll"):  # the BSDs' kqueue is not inherited
                _part_from(loop, listens=kept.listens)
            if kept.thread == threading.get_ident():
                loop.call_soon(end_stray)
    finally:
        _release_signals()


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in STOP_SIGNALS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _part_from(loop: asyncio.AbstractEventLoop, *, listens: bool) -> None:
    waits_at = _descriptor_of(loop)
    dead, end = socket.socketpair()
    with dead, select.epoll() as empty:
        end.close()
        for descriptor in _watched_at(waits_at):
            if _is_connection(descriptor) or (listens and _is_listener(descriptor)):
                os.dup2(dead.fileno(), descriptor, inheritable=False)
        # To take something off the shared list would take it off the parent's.
        os.dup2(empty.fileno(), waits_at, inheritable=False)


def _descriptor_of(loop: asyncio.AbstractEventLoop) -> int:
    selector = getattr(loop, "_selector", None)  # asyncio's own
    return int(loop._get_backend_id() if selector is None else selector.fileno())  # type: ignore[attr-defined]  # noqa: SLF001 - uvloop's


def _watched_at(epoll: int) -> list[int]:
    """The descriptors that an epoll waits for, as Linux shows them."""
    try:
        shown = Path(f"/proc/self/fdinfo/{epoll}").read_text()
    except OSError:
        return []
    return [int(descriptor) for descriptor in _WATCHED.findall(shown)]


def _is_connection(descriptor: int) -> bool:
    """Whether it leads to a server; a pair of sockets, which has no name, may be the child's."""
    try:
        candidate = socket.socket(fileno=descriptor)
    except OSError:  # a pipe, or something else
        return False
    try:
        return bool(candidate.getpeername())
    except OSError:
        return False
    finally:
        candidate.detach()


def _is_listener(descriptor: int) -> bool:
    try:
        candidate = socket.socket(fileno=descriptor)
    except OSError:
        return False
    try:
        return bool(candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        candidate.detach()


def end_stray() -> None:
    """End this process: a fork that has come back to what only its parent may go on with."""
    logger.critical(
        "process %d, a fork of this worker, has come back to the event loop, and ends: what a task "
        "forks has to end by os._exit(), as it does with multiprocessing",
        os.getpid(),
    )
    logging.shutdown()
    os._exit(1)
