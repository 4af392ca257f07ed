"""What says that this process lives: its heartbeat and its leases, on the heart's thread."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from uow.attempt.running import Leases, Running
from uow.db.database import Database
from uow.db.fragments import FENCE_SECONDS
from uow.events.processes import LoopBlocked
from uow.events.spine import Spine
from uow.process.heart import Heart
from uow.services.presence import ClaimSwitch, Presence
from uow.settings.environment import Settings
from uow.tasks.function import DEFAULT_TIMEOUT

IDLE_SECONDS = DEFAULT_TIMEOUT + FENCE_SECONDS
"""After so long Postgres ends a transaction of this process that stands idle, and with it the locks
of a process that has stalled: an ordinary attempt's time. Another one's BEGIN says its own."""


class Body(Protocol):
    """What an engine lends to its process."""

    @property
    def name(self) -> str:
        """The process's name in the fleet."""

    @property
    def heart(self) -> Heart:
        """It beats already."""

    @property
    def running(self) -> Running:
        """What is held."""

    @property
    def leases(self) -> Leases:
        """Who keeps the leases of what is held."""

    @property
    def claims(self) -> ClaimSwitch | None:
        """What can be told not to claim."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """The parts, and how another thread talks to them."""

    heart: Heart
    running: Running
    leases: Leases
    presence: Presence

    def suspend(self) -> None:
        """Claim nothing until Postgres answers."""
        self.heart.call_soon(self.presence.suspend)

    def prepare_to_leave(self) -> None:
        """The process has been told to stop."""
        self.heart.call_soon(self.presence.prepare_to_leave)


async def start_vitals(
    stack: AsyncExitStack,
    settings: Settings,
    body: Body,
    on_death: Callable[[BaseException], None],
    events: Spine,
) -> Vitals:
    """Let the fleet know of this process, until `stack` is closed.

    Args:
        events: Of the process, whose event loop is the running one.
    """
    tell = events.from_any_thread()

    def tell_blocked(seconds: float, blocker: str) -> None:
        if events.wants(LoopBlocked):
            tell(LoopBlocked(worker=body.name, seconds=seconds, blocker=blocker))

    heart = body.heart
    heart.on_death, heart.on_blocked = on_death, tell_blocked
    db = database_of(settings, body.name, connections=1)
    stack.push_async_callback(lambda: heart.run(db.dispose()))
    presence = Presence(
        db, body.name, settings,
        running=body.running.task_ids, claims=body.claims, tell=tell, on_death=on_death,
    )  # fmt: skip
    stack.push_async_callback(await heart.keep(presence))
    return Vitals(heart, body.running, body.leases, presence)


def database_of(settings: Settings, process: str, connections: int | None = None) -> Database:
    """The database of a worker process, with as many connections as it says or as are given."""
    part = settings.require_database()
    if connections is not None:
        part = replace(part, pool_size=connections)
    return Database.from_settings(part, fence_seconds=IDLE_SECONDS, process=process)
