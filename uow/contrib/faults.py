"""FaultLog of what is optional: logged once a minute, and nothing else."""

import logging
import time

from uow.events.spine import REPORT_SECONDS


class FaultLog:
    """Tells of faults of one kind.

    Args:
        what: What has failed, and what goes on without it.
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._told_at = float("-inf")

    def tell(self, error: BaseException) -> None:
        """It has failed by `error`."""
        now = time.monotonic()
        if now - self._told_at >= REPORT_SECONDS:
            self._told_at = now
            self._logger.error("%s", self._what, exc_info=error)
