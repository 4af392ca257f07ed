"""What somebody has chosen, as the rest of this package asks for it."""

from collections.abc import Callable
from typing import Protocol


class Chosen(Protocol):
    """The options of the integration."""

    all_failures: bool
    monitor_schedules: bool


Current = Callable[[], Chosen | None]
"""Returns the options; None: Sentry is not set up, or without us."""
