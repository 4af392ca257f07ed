"""Interrupts attempts whose time is over.

Each attempt has a deadline and nearly none reaches it, so no timer is set for each: those that may
take equally long wait in one line, in the order in which they come, and one timer stands for the
first of it.
"""

import asyncio
from types import TracebackType
from typing import Self

_EARLY_SECONDS = 0.001
"""A loop's clock may tick in milliseconds, and its timer come before the moment it was set for."""


class Deadlines:
    """The deadlines of a process: a line for each length."""

    def __init__(self) -> None:
        self._lines: dict[float, _Line] = {}

    def within(self, seconds: float) -> "AttemptDeadline":
        """Interrupt the asyncio task that enters this if it has not left it in so many seconds."""
        line = self._lines.get(seconds)
        if line is None:  # as many as there are timeouts of task functions
            line = self._lines[seconds] = _Line(seconds)
        return AttemptDeadline(line)

    def close(self) -> None:
        """No attempt runs any more: leave no timer to the event loop, which may be somebody's."""
        for line in self._lines.values():
            line.close()


class AttemptDeadline:
    """As `asyncio.timeout`, which sets a timer for each: a TimeoutError when it is over.

    Attributes:
        when: By the clock of the event loop.
        is_over: Whether it has interrupted.
    """

    __slots__ = ("_cancelling", "_line", "_task", "is_over", "when")

    when: float

    def __init__(self, line: "_Line") -> None:
        self._line = line
        self.is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - an attempt is run by one
        self._task = task
        self._cancelling = task.cancelling()
        self._line.enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.leave(self)
        if not self.is_over or self._task.uncancel() > self._cancelling:
            return  # somebody else has interrupted it, too
        if isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def end(self) -> None:
        """It is over."""
        self.is_over = True
        self._task.cancel()


class _Line:
    """Those that may take `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[AttemptDeadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, deadline: AttemptDeadline) -> None:
        loop = asyncio.get_running_loop()
        deadline.when = loop.time() + self._seconds
        self._waiting[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.when, self._look)

    def leave(self, deadline: AttemptDeadline) -> None:
        self._waiting.pop(deadline, None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """End those whose time is over; a timer that was set for one that has left finds others."""
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time() + _EARLY_SECONDS
        while self._waiting:
            first = next(iter(self._waiting))
            if first.when > now:
                self._timer = loop.call_at(first.when, self._look)
                return
            del self._waiting[first]
            first.end()
