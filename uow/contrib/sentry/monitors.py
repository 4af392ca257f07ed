"""Schedules as Sentry's monitors: a check-in when a tick's task begins, another when it is settled.

Both have the task's id, so that the second may come from another process, after a retry or a death.
"""

import logging
import re
from hashlib import sha256
from typing import TYPE_CHECKING

from sentry_sdk.crons import capture_checkin

from uow.contrib.sentry.chosen import Current
from uow.events import AttemptStarted, TaskSettled, WorkerStarted
from uow.events.processes import ScheduleInCode
from uow.events.tasks import TaskEvent
from uow.schedules.timetable import EVERY, NAMED
from uow.tasks.outcome import Cancel

if TYPE_CHECKING:
    from sentry_sdk._types import MonitorConfig

logger = logging.getLogger(__name__)

LONGEST_SLUG = 50
"""Characters of a monitor's name in Sentry's addresses."""

MINUTE = 60
"""Seconds of the shortest time that Sentry's monitors know."""


class Monitors:
    """Checks in, if that is chosen."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._configs: dict[str, MonitorConfig] = {}

    def worker_started(self, event: WorkerStarted) -> None:
        """Learn the schedules of this process's code."""
        for schedule in event.schedules if self._is_chosen() else ():
            if (config := config_of(schedule)) is not None:
                self._configs[schedule.name] = config
            else:
                logger.warning(
                    "schedule %s has no monitor at Sentry, which knows no seconds: %s",
                    schedule.name, schedule.expression,
                )  # fmt: skip

    def attempt_started(self, event: AttemptStarted) -> None:
        """A tick's task runs."""
        self._check_in(event, "in_progress")

    def task_settled(self, event: TaskSettled) -> None:
        """A tick's task has ended; it has not failed if its function found nothing to do."""
        is_well = event.state == "succeeded" or isinstance(event.error, Cancel)
        self._check_in(event, "ok" if is_well else "error")

    def _check_in(self, event: TaskEvent, status: str) -> None:
        if event.schedule is None or event.id is None or not self._is_chosen():
            return
        config = self._configs.get(event.schedule)
        if config is not None:
            capture_checkin(
                monitor_slug=slug_of(event.schedule),
                check_in_id=event.id.hex,
                status=status,
                monitor_config=config,
            )

    def _is_chosen(self) -> bool:
        chosen = self._current()
        return chosen is not None and chosen.monitor_schedules


def slug_of(name: str) -> str:
    """A schedule's name as Sentry takes it; one that is cut is told from others that begin so."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    if slug and len(slug) <= LONGEST_SLUG:
        return slug
    mark = sha256(name.encode()).hexdigest()[:8]
    return f"{slug[: LONGEST_SLUG - len(mark) - 1]}-{mark}".lstrip("-")


def config_of(schedule: ScheduleInCode) -> "MonitorConfig | None":
    """When Sentry is to expect it; None: that cannot be said in minutes."""
    expression = NAMED.get(schedule.expression.strip().lower(), schedule.expression)
    if (every := EVERY.fullmatch(expression)) is not None:
        minutes, seconds = divmod(int(every[1]), MINUTE)
        if seconds:
            return None
        return {"schedule": {"type": "interval", "value": minutes, "unit": "minute"}}
    fields = expression.split()
    if len(fields) == 6 and fields.pop(0) != "0":
        return None
    return {
        "schedule": {"type": "crontab", "value": " ".join(fields)},
        "timezone": schedule.timezone,
    }
