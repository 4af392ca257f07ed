"""Where events go: each is a value, and whoever wants to know is called with it.

Listeners are called after the fact, in the process in which it happened, in the order in which
they came, on the event loop. Nothing waits for what they say: one that raises is logged, once a
minute, and changes nothing. An event that nobody listens to is not even made.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

logger = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
"""Between two lines about a listener that fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that has happened.

    Attributes:
        at: When, in seconds since 1970.
    """

    at: float = field(default_factory=time.time)


Listener = Callable[[Any], object]
"""Called with an event."""

BatchListener = Callable[[Sequence[Any]], object]
"""Called with events of one kind that have happened together."""


class Spine:
    """Calls listeners with events.

    Its listeners are not asked for again and again: `wants` is one look into a dict.
    """

    def __init__(self) -> None:
        self._heard: dict[type[object], list[_Ear]] = {}

    def listen(self, listener: Listener, *kinds: type[Event]) -> None:
        """Call `listener` with each event of these kinds."""
        self._add(_Ear(listener), kinds)

    def listen_to_batches(self, listener: BatchListener, *kinds: type[object]) -> None:
        """Call `listener` with all events of one of these kinds that have happened together.

        It may be a kind that is no `Event`, if somebody tells of those.
        """
        self._add(_BatchEar(listener), kinds)

    def forget(self, listener: Callable[[Any], object]) -> None:
        """Call it no more; copies go on."""
        for kind, ears in list(self._heard.items()):
            self._heard[kind] = [ear for ear in ears if ear.listener != listener]
            if not self._heard[kind]:
                del self._heard[kind]

    def wants(self, kind: type[object]) -> bool:
        """Whether anybody listens: if not, the event need not be made."""
        return kind in self._heard

    def emit(self, event: Event) -> None:
        """Tell of an event; on the event loop's thread."""
        self.emit_all((event,))

    def emit_all(self, events: Sequence[object]) -> None:
        """Tell of events of one kind that have happened together, if there are any."""
        if events:
            for ear in self._heard.get(type(events[0]), ()):
                ear.hear(events)

    def from_any_thread(self) -> Callable[[Event], None]:
        """What takes events from any thread, and tells of them on this one's event loop."""
        loop = asyncio.get_running_loop()

        def emit(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended
                loop.call_soon_threadsafe(self.emit, event)

        return emit

    def copy(self) -> Self:
        """One with the same listeners, to which others may be added."""
        copied = type(self)()
        for kind, ears in self._heard.items():
            copied._heard[kind] = list(ears)  # noqa: SLF001 - of this class
        return copied

    def _add(self, ear: "_Ear", kinds: tuple[type[object], ...]) -> None:
        for kind in kinds:
            self._heard.setdefault(kind, []).append(ear)


class _Ear:
    """A listener, and when it has failed last."""

    __slots__ = ("_told_at", "listener")

    def __init__(self, listener: Callable[[Any], object]) -> None:
        self.listener = listener
        self._told_at = float("-inf")

    def hear(self, events: Sequence[object]) -> None:
        for event in events:
            try:
                self.listener(event)
            except BaseException as error:
                self._report(type(event), error)

    def _report(self, kind: type[object], error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):  # which is for the process, wherever it comes
            raise error
        now = time.monotonic()
        if now - self._told_at >= REPORT_SECONDS:
            self._told_at = now
            name = getattr(self.listener, "__qualname__", type(self.listener).__qualname__)
            logger.error("%s, which listens to %s, has failed; nothing else is changed by that",
                         name, kind.__name__, exc_info=error)  # fmt: skip


class _BatchEar(_Ear):
    """One that is called with several events at once."""

    __slots__ = ()

    def hear(self, events: Sequence[object]) -> None:
        try:
            self.listener(events)
        except BaseException as error:
            self._report(type(events[0]), error)
