"""Makes tasks of the ticks of schedules: a duty of the leader.

In one transaction the tick is noted under its unique key, its task is inserted and the schedule's
next tick is written, so a tick has one task however many leaders think that they lead. The row of
a schedule has everything that is needed: the leader may be a process of another service, or of an
older version.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

import asyncpg

from uow.db import ticks
from uow.db.database import Database
from uow.db.failures import PASSING, sqlstate
from uow.db.statement import Statements
from uow.db.ticks import Advance, DueSchedule, TickFate, WaitingTick
from uow.events.processes import TickFired, TickMissed
from uow.events.spine import Spine
from uow.failpoints import reach
from uow.ids import new_id
from uow.schedules.cron import ScheduleDefinition
from uow.schedules.due import Due, due, on_time_from
from uow.schedules.tick import Tick
from uow.service import Service

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
"""Between two looks, unless a tick is due earlier: a schedule that somebody has changed, resumed
or deployed is noticed within this."""

WAITING_SECONDS = 0.1
"""The same while ticks wait until a task is settled: they follow it within this."""

BATCH = 100
"""Schedules per transaction."""

PUT_OFF = timedelta(minutes=1)
"""For so long a schedule is left alone that is not understood here, or cannot be written."""

T = TypeVar("T", DueSchedule, WaitingTick)

Hopeless = tuple[WaitingTick, Exception]
"""A tick whose task cannot be made, and why."""

_OWN_FAULTS = ("22", "23", "54")
"""SQLSTATE classes of values that Postgres does not take: those of some definition, in a batch."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be done about a schedule that is due; no definition: it is not understood."""

    app: str
    name: str
    definition: ScheduleDefinition | None
    due: Due

    @property
    def advance(self) -> Advance:
        """How far the schedule is then."""
        last = self.due.ticks[-1] if self.due.ticks else None
        return Advance(self.app, self.name, self.due.following, last)

    def ticks(self) -> Iterator[Tick]:
        """The ticks that are to be noted."""
        if self.definition is None:
            return
        about = (self.app, self.name, self.definition)
        if self.due.missed is not None:
            first, last = self.due.missed
            logger.warning("schedule %s of %s: no worker was there from %s to %s",
                           self.name, self.app, first, last)  # fmt: skip
            yield Tick(*about, first, "missed", until=last)
        # A tick that may have to wait gets in line behind those that do.
        fate = "waiting" if self.definition.overlap == "queue" else "fired"
        for tick in self.due.ticks:
            yield Tick(*about, tick, fate, task_id=new_id() if fate == "fired" else None)


class Scheduler(Service):
    """Fires what is due."""

    passing = PASSING

    def __init__(
        self,
        db: Database,
        *,
        wake_relay: Callable[[], None],
        on_death: Callable[[BaseException], None] | None = None,
        events: Spine | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._events = events or Spine()
        self._db = db
        self._wake_relay = wake_relay
        self._began = time.monotonic()

    async def run_once(self) -> int:
        """Fire every tick that is due; returns how many tasks were made."""
        made = 0
        for one_batch in (
            partial(self._sifted, self._fire_due, self._put_off),
            partial(self._sifted, self._admit_waiting, self._miss),
        ):
            while True:
                found, fired = await one_batch()
                made += fired
                if not found:
                    break
        if made:
            self._wake_relay()
        self.interval = await self._until_next()
        return made

    async def _until_next(self) -> float:
        seconds, waiting = await ticks.until_next_tick(self._db)
        longest = WAITING_SECONDS if waiting else INTERVAL_SECONDS
        return longest if seconds is None else min(max(seconds, 0.0), longest)

    async def _sifted(
        self,
        batch: Callable[[int, list[T]], Awaitable[tuple[int, int]]],
        give_up: Callable[[T, Exception], Awaitable[None]],
    ) -> tuple[int, int]:
        """A batch, or what of it can be written: halved until only the offender is left."""
        limit, looked_at = BATCH, list[T]()
        while True:
            try:
                return await batch(limit, looked_at)
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not _is_own_fault(error) or not looked_at:
                    raise
                if len(looked_at) == 1:
                    await give_up(looked_at[0], error)
                    return 1, 0
                limit = len(looked_at) // 2

    async def _put_off(self, row: DueSchedule, error: Exception) -> None:
        _say_put_off(row, error)
        put_off = Decided(row.app, row.name, None, Due([], None, row.now + PUT_OFF))
        await ticks.advance(self._db, [put_off.advance])

    async def _miss(self, row: WaitingTick, error: Exception) -> None:
        await _give_up(self._db, [(row, error)])

    async def _fire_due(self, limit: int, looked_at: list[DueSchedule]) -> tuple[int, int]:
        """One batch of schedules; returns how many were due, and how many tasks were made."""
        async with self._db.transaction() as transaction:
            uptime = time.monotonic() - self._began
            looked_at[:] = rows = await ticks.find_due(transaction, limit, uptime)
            if not rows:
                return 0, 0
            made, missed = await fire(transaction, [decide(row) for row in rows])
            reach("ticked")
        self._tell(made, missed)
        return len(rows), len(made)

    async def _admit_waiting(self, limit: int, looked_at: list[WaitingTick]) -> tuple[int, int]:
        """The ticks whose time has come because the task before them is settled."""
        async with self._db.transaction() as transaction:
            looked_at[:] = await ticks.find_waiting(transaction, limit)
            waited, hopeless = _waited(looked_at)
            made = await admit(transaction, waited)
            if hopeless:
                await _give_up(transaction, hopeless)
        self._tell(made, [])
        return len(made) + len(hopeless), len(made)

    def _tell(self, fired: list[Tick], missed: list[Tick]) -> None:
        """Tell of ticks, whose transaction has committed."""
        if self._events.wants(TickFired):
            self._events.emit_all([_fired(one) for one in fired])
        if self._events.wants(TickMissed):
            self._events.emit_all([_missed(one) for one in missed])


def _fired(one: Tick) -> TickFired:
    assert one.task_id is not None  # noqa: S101 - it has a task
    late = max(time.time() - one.run_at.timestamp(), 0.0)
    return TickFired(app=one.app, schedule=one.name, tick=one.tick, task_id=one.task_id, late=late)


def _missed(one: Tick) -> TickMissed:
    return TickMissed(app=one.app, schedule=one.name, first=one.tick, last=one.until or one.tick)


async def fire(db: Statements, decided: Sequence[Decided]) -> tuple[list[Tick], list[Tick]]:
    """Note the ticks of schedules that are due and make their tasks.

    Returns:
        The ticks that have a task now, and those that nobody was there for.
    """
    await ticks.advance(db, [one.advance for one in decided])
    noted = await _note(db, [tick for one in decided for tick in one.ticks()])
    fired = [one for one in noted if one.fate == "fired"]
    made = await _make_tasks(db, fired)
    if len(made) < len(fired):
        ids = {one.task_id for one in made}
        others = [one for one in fired if one.task_id not in ids]
        overlapped = [replace(one, fate="overlapped", task_id=None) for one in others]
        await ticks.decide_ticks(db, [one.noted for one in overlapped])
    return made, [one for one in noted if one.fate == "missed"]


async def admit(db: Statements, waited: Sequence[Tick]) -> list[Tick]:
    """Make the tasks of ticks that have waited; returns those whose time has come."""
    made = await _make_tasks(db, waited)
    if made:
        await ticks.decide_ticks(db, [one.noted for one in made])
    return made


async def _note(db: Statements, those: Sequence[Tick]) -> list[Tick]:
    """Note ticks; returns those that nobody has noted before."""
    new = await ticks.note_ticks(db, [one.noted for one in those])
    return [one for one in those if one.key in new]


async def _make_tasks(db: Statements, those: Sequence[Tick]) -> list[Tick]:
    """Insert the tasks of ticks; returns those whose schedule does not mind one now."""
    if not those:
        return []
    ids = await ticks.insert_ticked(db, [one.its_task for one in those])
    made = [one for one in those if one.task_id in ids]
    last = {(one.app, one.name): one.noted for one in made}
    await ticks.note_last_tasks(db, list(last.values()))
    return made


def decide(row: DueSchedule) -> Decided:
    """What is to be done about a schedule that is due, at `row.now`."""
    try:
        definition = ScheduleDefinition.from_json(row.definition)
        table = definition.timetable
        on_time = on_time_from(row.now, row.attended_since, definition.grace)
        ended = due(table, definition.missed, row.next_tick, row.now, on_time)
    except (ValueError, TypeError) as error:
        _say_put_off(row, error)
        return Decided(row.app, row.name, None, Due([], None, row.now + PUT_OFF))
    return Decided(row.app, row.name, definition, ended)


def _say_put_off(row: DueSchedule, error: Exception) -> None:
    logger.error("schedule %s of %s is not understood here, and put off for %s: %s",
                 row.name, row.app, PUT_OFF, _said(error))  # fmt: skip


def _waited(rows: Sequence[WaitingTick]) -> tuple[list[Tick], list[Hopeless]]:
    """Ticks that have waited; and those that have waited for nothing."""
    waited: list[Tick] = []
    hopeless: list[Hopeless] = []
    for row in rows:
        try:
            definition = ScheduleDefinition.from_json(row.definition)
        except ValueError as error:
            hopeless.append((row, error))
        else:
            waited.append(Tick(row.app, row.name, definition, row.tick, "fired", task_id=new_id()))
    return waited, hopeless


async def _give_up(db: Statements, hopeless: Sequence[Hopeless]) -> None:
    """Note ticks as missed whose tasks cannot be made."""
    for row, error in hopeless:
        logger.error("tick %s of schedule %s of %s is missed: %s",
                     row.tick, row.name, row.app, _said(error))  # fmt: skip
    missed = [
        TickFate(one.app, one.name, one.tick, "missed", one.tick, None) for one, _ in hopeless
    ]
    await ticks.decide_ticks(db, missed)


def _said(error: Exception) -> object:
    """What may be logged of an error: Postgres adds the values of the row that it refuses."""
    return getattr(error, "message", error)


def _is_own_fault(error: Exception) -> bool:
    """Whether some value was refused, and not the server away."""
    state = sqlstate(error)
    return isinstance(error, ValueError) if state is None else state.startswith(_OWN_FAULTS)
