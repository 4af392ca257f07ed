"""What says that this process lives: its heartbeat and its leases, on the heart's thread."""

from dataclasses import dataclass

from uow.attempt.running import Leases, Running
from uow.process.heart import Heart
from uow.services.presence import Presence


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
