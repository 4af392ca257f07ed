"""A job's lines in arq's log, in arq's words; arguments are left out, and seconds are added."""

import logging

from arq.utils import timestamp_ms

from uow.attempt.delivery import Delivery
from uow.telemetry.subject import Subject

logger = logging.getLogger("arq.worker")

LATE_MS = 1200
"""arq's own idea of what is worth a word."""


def started(delivery: Delivery) -> None:
    """The function is about to be called."""
    if not logger.isEnabledFor(logging.INFO):
        return
    now = timestamp_ms()
    extra = f" try={delivery.job_try}" if delivery.job_try > 1 else ""
    if (late := now - delivery.score) > LATE_MS:
        extra += f" delayed={late / 1000:0.2f}s"
    waited = (now - delivery.enqueued_ms) / 1000
    logger.info("%6.2fs → %s:%s(…)%s", waited, delivery.job_id, delivery.name, extra,
                extra={"waited": waited})  # fmt: skip


def completed(delivery: Delivery, began: float, about: Subject) -> None:
    """The function has returned, and what it did is committed."""
    if logger.isEnabledFor(logging.INFO):
        took = timestamp_ms() / 1000 - began
        logger.info("%6.2fs ← %s:%s ●", took, delivery.job_id, delivery.name,
                    extra={**about.fields(), "ran": took, "outcome": "completed"})  # fmt: skip
