"""Clients in a process that was forked after they were made, as gunicorn forks its workers."""

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """What leads to servers, and must not be shared with the parent."""

    def begin_anew(self) -> None:
        """Have connections of its own."""


_open: WeakSet[Forked] = WeakSet()


def begins_anew(client: Forked) -> None:
    """From now on `client` begins anew in each child."""
    _open.add(client)


def forget(client: Forked) -> None:
    """It is closed."""
    _open.discard(client)


def _begin_anew() -> None:
    for client in list(_open):
        client.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
