"""The demo's work: a file of users is imported, each is welcomed, and some have data exported."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import text

from uow.db.failures import PASSING
from uow.errors import ServerUnreachable, WorkerError
from uow.tasks.handle import TaskHandle
from worker.demo.house import House
from worker.demo.workers import Workers
from worker.tasks.user_export import export_data
from worker.tasks.user_import import ImportReport, import_csv

LOOK_SECONDS = 0.1
PAUSE_SECONDS = 0.1

PATIENCE_SECONDS = 120
"""Without any progress for this long the demo gives up."""

OUTAGE_SECONDS = 30
"""An absence of Postgres that nobody has ordered."""

EXPORTERS = 4
"""Users who ask for their data at the same time."""

PRIORITY = 5
"""Somebody waits for an export; nobody stands at the door for a welcome."""

T = TypeVar("T")

_COUNTS = text("""
    SELECT (SELECT count(*) FROM users) AS created,
           (SELECT count(welcomed_at) FROM users) AS welcomed,
           (SELECT count(*) FROM worker.task WHERE settled_at IS NULL) AS unsettled
""")

_NEXT = text("""
    SELECT id FROM users WHERE id > :last AND id % :step = :place ORDER BY id LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Counts:
    """How far the work is."""

    created: int
    welcomed: int
    unsettled: int


async def outlast(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until Postgres answers. What is asked may be done twice: an answer can be lost.

    Raises:
        ServerUnreachable: It did not for longer than any outage lasts.
    """
    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return await ask()
        except PASSING as error:
            if time.monotonic() > deadline:
                message = f"Postgres did not answer for {OUTAGE_SECONDS} s ({error})"
                raise ServerUnreachable(message) from error
        await asyncio.sleep(PAUSE_SECONDS)


async def start_import(house: House, source: Path) -> TaskHandle[ImportReport]:
    """Enqueue the import, which enqueues the welcomes."""
    shutil.copy(source, house.settings.storage_dir / "users.csv")
    return await house.client.enqueue(import_csv, path="users.csv", welcome=True)


async def watch(
    house: House, workers: Workers, show: Callable[[Counts], None], *, is_busy: Callable[[], bool]
) -> None:
    """Return when nothing is left to do and whoever may ask for more is not busy either.

    Raises:
        WorkerError: There was no progress for too long, or nobody is there to do the work.
    """
    last, since = None, time.monotonic()
    while True:
        workers.check()
        busy = is_busy()
        now = await outlast(partial(counts, house))
        show(now)
        if not now.unsettled and not busy:
            return
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise WorkerError(f"no progress for {PATIENCE_SECONDS} s:\n{workers.last_words()}")
        await asyncio.sleep(LOOK_SECONDS)


async def counts(house: House) -> Counts:
    """How far the work is, at one moment."""
    row = (await house.db.execute_once(_COUNTS, {})).one()
    return Counts(row.created, row.welcomed, row.unsettled)


class Exports:
    """Users who ask for their data, one after the other and several at a time.

    Attributes:
        asked: How many exports were asked for.
        done: How many are there.
    """

    def __init__(self, house: House) -> None:
        self.asked = self.done = 0
        self._house = house

    async def run(self, *, until: Callable[[], bool]) -> None:
        """Go on until then; returns when the last has what was asked for."""
        async with asyncio.TaskGroup() as group:
            for place in range(EXPORTERS):
                group.create_task(self._ask_in_turn(place, until))

    async def _ask_in_turn(self, place: int, until: Callable[[], bool]) -> None:
        """Each has users of its own, so that nobody asks twice at a time."""
        last = 0
        while not until():
            user_id = await outlast(partial(self._next, place, last))
            if user_id is not None:
                await self._export(user_id)
            last = user_id or 0
            await asyncio.sleep(PAUSE_SECONDS)

    async def _next(self, place: int, last: int) -> int | None:
        values = {"last": last, "step": EXPORTERS, "place": place}
        return (await self._house.db.execute_once(_NEXT, values)).scalar_one_or_none()

    async def _export(self, user_id: int) -> None:
        # Before the welcomes; and with the key, who asks again because the answer was lost gets
        # the task that is there.
        key = f"export of user {user_id}"
        asking = export_data.options(user_id=user_id, unique_key=key, priority=PRIORITY)
        self.asked += 1
        handle = await outlast(partial(self._house.client.enqueue, asking, user_id=user_id))
        await outlast(handle.result)
        self.done += 1
