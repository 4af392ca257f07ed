"""Tells that a server is away, once for each outage, and that it is back."""

import time
from collections.abc import Callable

from uow.events.processes import Server, ServerAway, ServerBack
from uow.events.spine import Event


class Outage:
    """What one process has noticed of one server.

    Args:
        tell: Takes the events.
    """

    def __init__(self, server: Server, tell: Callable[[Event], object]) -> None:
        self._server: Server = server
        self._tell = tell
        self._since: float | None = None

    def begins(self, error: Exception) -> None:
        """A question has met `error`, which says that the server is away."""
        if self._since is None:
            self._since = time.monotonic()
            self._tell(ServerAway(server=self._server, error=error))

    def ends(self) -> None:
        """It has answered."""
        if self._since is not None:
            seconds, self._since = time.monotonic() - self._since, None
            self._tell(ServerBack(server=self._server, seconds=seconds))
