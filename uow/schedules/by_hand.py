"""What people do to schedules by hand: see how far they are, pause, resume, run one now."""

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, Self
from uuid import UUID

from uow.broker import codec
from uow.db import audit, schedules, ticks
from uow.db.audit import AuditNote
from uow.db.database import Database
from uow.db.models import TaskState
from uow.db.schedules import LockedSchedule, StoredSchedule
from uow.db.schedules import TickView as TickView
from uow.db.transaction import Transaction
from uow.errors import InvalidSchedule, ScheduleBusy, ScheduleNotFound
from uow.ids import new_id
from uow.schedules.cron import ScheduleDefinition
from uow.schedules.tick import Tick
from uow.spelling import did_you_mean
from uow.tasks.handle import TaskHandle
from uow.tasks.outlets import reader_of

logger = logging.getLogger(__name__)

END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as it stands in Postgres. Moments are in UTC.

    Attributes:
        state: ``removed``: for five minutes no live worker of its app has had it in its code.
        next_tick: None: there is none.
        last_outcome: State of the last task, that of a tick or one that was asked for by hand.
        missed: The first and the last of the ticks that were missed latest.
        waiting: Ticks that wait until the task before them is settled.
    """

    app: str
    name: str
    definition: ScheduleDefinition
    state: Literal["active", "paused", "removed"]
    next_tick: datetime | None
    last_tick: datetime | None
    last_task_id: UUID | None
    last_outcome: TaskState | None
    missed: tuple[datetime, datetime] | None
    waiting: int
    now: datetime

    @classmethod
    def of(cls, row: StoredSchedule) -> Self:
        """As the row says it."""
        return cls(
            app=row.app,
            name=row.name,
            definition=ScheduleDefinition.from_json(row.definition),
            state="removed" if row.removed_at else "paused" if row.paused_at else "active",
            next_tick=row.next_tick,
            last_tick=row.last_tick,
            last_task_id=row.last_task_id,
            last_outcome=TaskState(row.last_outcome) if row.last_outcome else None,
            missed=row.missed,
            waiting=row.waiting,
            now=row.now,
        )

    @property
    def arguments(self) -> Mapping[str, object]:
        """What its task function is called with."""
        arguments: dict[str, object] = codec.from_bytes(self.definition.arguments)
        return arguments

    def coming(self, count: int = 5) -> list[datetime]:
        """The next ticks, if nobody changes anything; none unless it is active."""
        if self.state != "active" or self.next_tick is None:
            return []
        following = self.definition.timetable.ticks(self.next_tick, END)
        return [self.next_tick, *itertools.islice(following, count - 1)]


class Schedules:
    """The schedules of one app.

    Args:
        app: What `WORKER_APP` says.
    """

    def __init__(self, db: Database, app: str) -> None:
        self._db = db
        self._app = app

    async def all(self, *, every_app: bool = False) -> list[ScheduleView]:
        """The app's schedules, or everybody's in this database, by name.

        Those whose definition is not understood here are left out, and named in the log.
        """
        views: list[ScheduleView] = []
        for row in await self._read(None if every_app else self._app, None):
            try:
                views.append(ScheduleView.of(row))
            except ValueError as error:
                logger.warning("schedule %s of %s is not understood here: %s",
                               row.name, row.app, error)  # fmt: skip
        return views

    async def get(self, name: str) -> ScheduleView:
        """One schedule.

        Raises:
            ScheduleNotFound: The app has none of that name.
            InvalidSchedule: Its definition is not understood here.
        """
        row = await self._row_of(name)
        try:
            return ScheduleView.of(row)
        except ValueError as error:
            raise _not_understood(name, error) from error

    async def ticks(self, name: str, limit: int = 10) -> list[TickView]:
        """The latest ticks of a schedule, newest first.

        Raises:
            ScheduleNotFound: The app has none of that name.
        """
        await self._row_of(name)
        return await schedules.read_ticks(self._db, self._app, name, limit)

    async def pause(self, name: str, *, note: AuditNote | None = None) -> None:
        """Fire no tick from now on; what was fired goes on.

        Args:
            note: Is written into the audit if it is done.

        Raises:
            ScheduleNotFound: The app has none of that name.
        """
        async with self._db.transaction() as transaction:
            if await schedules.pause(transaction, self._app, name):
                await _note(transaction, note)
                return
        raise ScheduleNotFound(await self._no_such(name))

    async def resume(self, name: str, *, note: AuditNote | None = None) -> datetime | None:
        """Go on; what was due meanwhile is not run.

        Args:
            note: Is written into the audit if it is done.

        Returns:
            The next tick.

        Raises:
            ScheduleNotFound: The app has none of that name, or it was removed.
            InvalidSchedule: Its definition is not understood here.
        """
        async with self._db.transaction() as transaction:
            row = await schedules.lock_schedule(transaction, self._app, name)
            if row is None:
                raise ScheduleNotFound(await self._not_in_code(name))
            following = _definition_of(name, row).timetable.next_after(row.now)
            if row.paused_at is not None:
                await schedules.resume(transaction, self._app, name, following)
                await _note(transaction, note)
        return following

    async def run(self, name: str, *, note: AuditNote | None = None) -> TaskHandle[Any]:
        """Ask for a task of the schedule now, paused or not; its ticks stay as they are.

        Args:
            note: Is written into the audit, with the task, if it is done.

        Raises:
            ScheduleNotFound: The app has none of that name, or it was removed.
            ScheduleBusy: A task of it is unsettled, and it does not overlap.
            InvalidSchedule: Its definition is not understood here.
        """
        task_id = new_id()
        async with self._db.transaction() as transaction:
            row = await schedules.lock_schedule(transaction, self._app, name)
            if row is None:
                raise ScheduleNotFound(await self._not_in_code(name))
            definition = _definition_of(name, row)
            asked = Tick(self._app, name, definition, row.now, "asked", task_id=task_id)
            if not await ticks.insert_ticked(transaction, [asked.its_task]):
                raise ScheduleBusy(
                    f"a task of schedule {name} is unsettled, and with "
                    f"overlap={definition.overlap!r} there is one at a time"
                )
            await ticks.note_ticks(transaction, [asked.noted])
            await ticks.note_last_tasks(transaction, [asked.noted])
            await _note(transaction, note and replace(note, task_id=task_id))
        reader = partial(reader_of, self._db.engine.sync_engine)
        return TaskHandle(task_id, definition.task, reader, codec.from_bytes)

    async def _row_of(self, name: str) -> StoredSchedule:
        found = await self._read(self._app, name)
        if not found:
            raise ScheduleNotFound(await self._no_such(name))
        return found[0]

    async def _read(self, app: str | None, name: str | None) -> list[StoredSchedule]:
        return await schedules.read_schedules(self._db, app, name)

    async def _not_in_code(self, name: str) -> str:
        if await self._read(self._app, name):
            return f"schedule {name} was removed: it is in no worker's code any more"
        return await self._no_such(name)

    async def _no_such(self, name: str) -> str:
        names = [one.name for one in await self.all()]
        meant = did_you_mean(name, names)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(names) or 'none'}"
        return f"{self._app} has no schedule {name}; {hint}"


async def _note(transaction: Transaction, note: AuditNote | None) -> None:
    if note is not None:
        await audit.note(transaction, note)


def _definition_of(name: str, row: LockedSchedule) -> ScheduleDefinition:
    try:
        definition = ScheduleDefinition.from_json(row.definition)
        definition.timetable  # noqa: B018 - it may not be understood either
    except ValueError as error:
        raise _not_understood(name, error) from error
    return definition


def _not_understood(name: str, error: ValueError) -> InvalidSchedule:
    return InvalidSchedule(f"schedule {name} is not understood by this version: {error}")
