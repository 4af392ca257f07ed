"""Ticks of the schedules of a registry, without waiting for them."""

from sqlalchemy import text

from uow import Database, Settings
from uow.schedules.cron import schedules_of
from uow.schedules.registrar import Registrar
from uow.schedules.scheduler import Scheduler
from uow.tasks.registry import Registry


async def fire(db: Database, settings: Settings, registry: Registry) -> None:
    """Make the tasks of a tick of each schedule, as the leader does."""
    await Registrar(db, schedules_of(registry), settings).run_once()
    await db.execute_once(text("UPDATE schedule SET next_tick = date_trunc('second', now())"), {})
    await Scheduler(db, wake_relay=lambda: None).run_once()
