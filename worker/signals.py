"""Ends the process in time, whatever hangs.

A stopping worker gives its tasks their grace, hands back the rest and leaves. A task that ignores
its cancellation, a server that does not answer or a blocked event loop must not hold it up: so a
timer in a thread of its own ends the process hard, and a second signal does so at once. What ran is
then rolled back by Postgres, and its lease runs out.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

logger = logging.getLogger("worker.signals")

MARGIN_SECONDS = 1.5
"""Beyond the grace, for handing back and closing connections."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM has ended."""

Handler = Callable[[int, FrameType | None], object]


def cancel_on_sigterm() -> None:
    """From now on SIGTERM cancels the current task, so that what it has started ends with it."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - called by a coroutine
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


class Deadline:
    """Watches for the signals that stop the process, beside whoever else handles them.

    The event loop hears of a signal through its wake-up file descriptor, whichever handler is
    installed; so this handler runs in addition to arq's.

    Args:
        grace: Seconds that running tasks get.
        on_stop: Called with the first signal, between two bytecodes of the main thread.
    """

    def __init__(self, grace: float, on_stop: Callable[[], None]) -> None:
        self._seconds = grace + MARGIN_SECONDS
        self._on_stop = on_stop
        self._timer: threading.Timer | None = None
        self._before: dict[signal.Signals, Handler] = {}

    def watch(self) -> None:
        """Begin to watch, if the process handles these signals at all and this is its thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOP_SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler) and handler is not signal.default_int_handler:
                self._before[number] = handler
                signal.signal(number, self._handle)

    def release(self) -> None:
        """The process ends in time: no more watching."""
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._timer is not None:
            _end(f"second {signal.Signals(number).name}: ends at once")
        self._timer = threading.Timer(
            self._seconds, _end, [f"not done {self._seconds:g} s after the signal: ends hard"]
        )
        self._timer.daemon = True
        self._timer.start()
        self._on_stop()
        self._before[signal.Signals(number)](number, frame)


def _end(reason: str) -> None:
    logger.critical("%s; what still runs is rolled back and runs again elsewhere", reason)
    logging.shutdown()
    os._exit(1)
