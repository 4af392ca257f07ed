"""Ends the process when it is told to, in time, whatever hangs.

    first line ─▶ `end_at_once` ─▶ it serves, with a `Deadline` ─▶ `end_at_once` ─▶ last line

A stopping worker gives its tasks their grace, hands back the rest and leaves. A task that ignores
its cancellation, a server that does not answer, a blocked event loop or a thread that does not
return must not hold it up: so a timer in a thread of its own ends the process hard, and a second
signal does so at once. What ran is then rolled back by Postgres, and its lease runs out.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

logger = logging.getLogger(__name__)

MARGIN_SECONDS = 1.5
"""Beyond the grace, for handing back and closing connections."""

ONE_SIGNAL_SECONDS = 0.5
"""Signals within this are one: a process group and its supervisor both send theirs."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""A terminal that closes sends SIGHUP; container images may have SIGQUIT for a graceful stop."""

_OF_ARQ = (signal.SIGTERM, signal.SIGINT)
"""Those that arq handles, and nobody can switch off."""

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM has ended."""


def heeded_signals() -> list[signal.Signals]:
    """The stop signals that this process heeds: what `nohup` has it ignore stays ignored."""
    return [
        number
        for number in STOP_SIGNALS
        if number in _OF_ARQ or signal.getsignal(number) is not signal.SIG_IGN
    ]


def end_at_once() -> None:
    """From now on a stop signal ends the process at once, and well: nothing has begun, or all has
    ended."""
    for number in heeded_signals():
        signal.signal(number, _leave)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let stop signals wait while the block runs, and then end the process at once.

    For arq's constructor, which hands them to an event loop that does not run yet: uvloop forgets
    what comes before it does.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
        end_at_once()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """Undo `end_at_once`, before the block runs: the application handles signals, or nobody does.

    A handler that the application has set meanwhile stays.
    """
    for number in heeded_signals():
        if signal.getsignal(number) is _leave:
            is_ctrl_c = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)
    yield


def cancel_on_sigterm() -> None:
    """From now on SIGTERM cancels the current task, so that what it has started ends with it."""
    import asyncio  # not with the first line of a worker, which is to be here soon

    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - called by a coroutine
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


class SignalCount:
    """Counts the signals that tell the process to stop, and one with its echo once."""

    def __init__(self) -> None:
        self.value = 0
        self._last = float("-inf")

    def hear(self) -> bool:
        """Count a signal, unless it comes too soon after the last one that was counted."""
        now = time.monotonic()
        if now - self._last < ONE_SIGNAL_SECONDS:
            return False
        self._last = now
        self.value += 1
        return True


class Deadline:
    """Watches for the signals that stop the process, beside whoever else handles them.

    The event loop hears of a signal through its wake-up file descriptor, whichever handler is
    installed; so this handler runs in addition to arq's. What arq does not handle is sent on to it
    as SIGTERM.

    Args:
        grace: Seconds that running tasks get.
        on_stop: Called with the first signal, between two bytecodes of the main thread.
    """

    def __init__(self, grace: float, on_stop: Callable[[], None]) -> None:
        self._seconds = grace + MARGIN_SECONDS
        self._on_stop = on_stop
        self._watches = False
        self._signals = SignalCount()
        self._exit_code: int | None = None

    def watch(self) -> None:
        """Begin to watch, if the process handles these signals at all and this is its thread."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and callable(signal.getsignal(signal.SIGTERM)):
            self._watches = True
            for number in heeded_signals():
                signal.signal(number, self._hear)

    def release(self, exit_code: int = 0) -> None:
        """The worker has ended; threads of the tasks' own are waited for until the time is over.

        Args:
            exit_code: What the process ends with if they are still there then.
        """
        self._exit_code = exit_code
        if self._watches and not self._signals.value:
            end_at_once()

    def _hear(self, number: int, _: FrameType | None) -> None:
        if not self._signals.hear():
            return
        if self._signals.value == 1:
            self._begin_to_stop(signal.Signals(number))
        else:
            self._end(f"second {signal.Signals(number).name}: ends at once")

    def _begin_to_stop(self, number: signal.Signals) -> None:
        late = f"not done {self._seconds:g} s after the signal: ends hard"
        timer = threading.Timer(self._seconds, self._end, [late])
        timer.daemon = True
        timer.start()
        self._on_stop()
        if number not in _OF_ARQ:
            logger.info("%s: stops as on SIGTERM", number.name)
            signal.raise_signal(signal.SIGTERM)

    def _end(self, reason: str) -> None:
        if self._exit_code is None:
            logger.critical("%s; what still runs is rolled back and runs again elsewhere", reason)
        else:
            logger.warning("%s; only threads of the tasks were left%s", reason, _their_names())
        logging.shutdown()
        os._exit(1 if self._exit_code is None else self._exit_code)


def stop_process() -> None:
    """Tell this process to stop, from any thread."""
    os.kill(os.getpid(), signal.SIGTERM)


def _their_names() -> str:
    main = threading.main_thread()
    names = [t.name for t in threading.enumerate() if not t.daemon and t is not main]
    return f": {', '.join(names)}" if names else ""


def _leave(_: int, __: FrameType | None) -> None:
    os._exit(0)
