"""Schedules that are off unless a setting says when."""

from uow import DeclaredSchedule, InvalidSchedule, SettingsError, schedule
from worker.settings import WorkerAppSettings
from worker.tasks.maintenance import prune_tasks
from worker.tasks.users import deactivate_stale


def schedules_of_settings(settings: WorkerAppSettings) -> list[DeclaredSchedule]:
    """Those that the settings ask for.

    Raises:
        SettingsError: An expression or the zone is wrong.
    """
    wanted = {
        "WORKER_PRUNE_SCHEDULE": (prune_tasks, settings.prune_schedule),
        "WORKER_STALE_USERS_SCHEDULE": (deactivate_stale, settings.stale_users_schedule),
    }
    made: list[DeclaredSchedule] = []
    for name, (function, expression) in wanted.items():
        if expression is None:
            continue
        try:
            made.append(
                schedule(function, expression, timezone=settings.schedule_timezone, overlap="skip")
            )
        except InvalidSchedule as error:
            raise SettingsError(f"{name}: {error}") from None
    return made
