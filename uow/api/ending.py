"""Hearing of SIGTERM and SIGINT beside the server, which handles them.

A web server that is told to stop waits until every response has ended, and tells the app only after
that: a stream that nobody ends would hold it until its patience is over.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def told_to_stop(call: Callable[[], None]) -> Iterator[None]:
    """Within the block, a signal to stop calls `call` in the event loop, and then whoever had it.

    A signal that nobody handles is left as it is, and so are all of them outside of the main
    thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as chained:
        for number in SIGNALS:
            chained.enter_context(_chained(number, lambda: loop.call_soon_threadsafe(call)))
        yield


@contextlib.contextmanager
def _chained(number: signal.Signals, call: Callable[[], Any]) -> Iterator[None]:
    before = signal.getsignal(number)
    if not callable(before):
        yield
        return

    def handle(received: int, frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            call()
        before(received, frame)

    signal.signal(number, handle)
    try:
        yield
    finally:
        if signal.getsignal(number) is handle:
            signal.signal(number, before)
