"""Runs a bulk act, batch by batch; each is a transaction with its tasks, its row and its audit.

Who dies leaves everything as its last batch has left it, and who follows goes on there. Two at once
take turns: a batch begins with a lock on the row. A batch that is refused is halved until the one
task is found that it is about; that is left alone, and said.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from uow.acts import meaning
from uow.acts.bulk import WINDOW
from uow.acts.following import ActFollowing
from uow.acts.kinds import Act, DoneTo
from uow.acts.left import Why
from uow.acts.named import act_of
from uow.acts.noted import counts
from uow.acts.single import left_alone
from uow.client import TaskClient
from uow.db import acts, audit, bulk, walk
from uow.db.bulk import BulkRow
from uow.db.failures import PASSING, Kind, cause_of, sqlstate
from uow.db.statement import Statements
from uow.db.walk import FoundTasks, Meant
from uow.errors import WorkerError
from uow.tasks.interventions import TAKEN
from uow.telemetry.description import one_line

STATEMENT_MS = 200
"""No statement of a batch takes longer."""

LOCK_MS = 100
"""So long a batch waits for a row that somebody else holds."""

PATIENT_MS = 5000
"""The same for a batch of one, which is not halved any more."""

QUICK_SECONDS, SLOW_SECONDS = 0.05, 0.1
"""A batch that was quicker is followed by one of twice its size, a slower one by half."""

SMALLEST, LARGEST = 10, 1000

LOOKED_PER_TASK = 20
"""Rows that are looked at for each task that a batch may take."""

SHOWN = 5
"""Ids of each reason that are kept of what was left alone."""

LOCK_NOT_AVAILABLE = "55P03"
"""SQLSTATE."""


class BulkBatches:
    """Runs bulk acts.

    Args:
        client: An open client.
    """

    def __init__(self, client: TaskClient) -> None:
        self._db = client.db
        self._redis = client.redis
        self._retention = client.settings.retention
        self._following = ActFollowing.of(client)

    async def run_one(self, bulk_id: UUID) -> bool:
        """Run the next batch; returns whether there is more to do.

        Raises:
            asyncpg.PostgresError, OSError, RedisError: A server is away; it goes on later.
        """
        size: int | None = None
        while True:
            try:
                return await self._run(bulk_id, size)
            except _RefusedBatch as refused:
                if size == 1 and refused.ids:
                    return await self._pass_by(bulk_id, refused)
                if size == 1:
                    return await self._give_up(bulk_id, refused)
                size = max(refused.size // 2, 1)

    async def _run(self, bulk_id: UUID, size: int | None) -> bool:
        began = time.monotonic()
        async with self._db.transaction() as transaction:
            row = await self._begin(transaction, bulk_id, size)
            if row is None:
                return False
            asked = self._asked(row)
            if isinstance(asked, WorkerError) or row.stopped_by is not None or row.upper_id is None:
                error = str(asked) if isinstance(asked, WorkerError) else None
                await bulk.advance(transaction, replace(row, error=error), has_ended=True)
                return False
            act, which = asked
            batch = await self._do(transaction, act, which, row, size or row.batch)
            following = _after(row, batch, size or row.batch, time.monotonic() - began)
            await self._write(transaction, following, has_ended=following.position is None)
        await act.follow(batch.done, self._following)
        return following.position is not None

    async def _begin(
        self, transaction: Statements, bulk_id: UUID, size: int | None
    ) -> BulkRow | None:
        """Lock the row; None: it does not run any more."""
        await acts.go_by_key(transaction)
        row = await bulk.lock(transaction, bulk_id)
        if row is None or row.confirmed_at is None or row.ended_at is not None:
            return None
        alone = (size or row.batch) == 1
        await bulk.limit_time(
            transaction,
            lock_ms=PATIENT_MS if alone else LOCK_MS,
            statement_ms=2 * PATIENT_MS if alone else STATEMENT_MS,
        )
        return row

    def _asked(self, row: BulkRow) -> tuple[Act, Meant] | WorkerError:
        """The act, and which tasks it is for.

        An error: another version of ours has made the row, and means something else.
        """
        try:
            act = act_of(row.act, row.options, self._redis, self._retention)
            return act, meaning.meant(meaning.filter_of(row.filter), act, row.previewed_at)
        except WorkerError as error:
            return error

    async def _do(
        self, transaction: Statements, act: Act, which: Meant, row: BulkRow, size: int
    ) -> "_Batch":
        ids: Sequence[UUID] = ()
        try:
            found, legs = await _find(transaction, which, row, size)
            ids = found.ids
            done = await act.do(transaction, ids) if ids else DoneTo([])
        except PASSING as error:
            if not _may_be_of_one(error):
                raise
            raise _RefusedBatch(min(size, len(ids) or size), ids, error) from error
        passed_by = sorted({*ids} - {*done.ids}, reverse=True)
        left = await left_alone(transaction, act, passed_by, done.left) if passed_by else []
        return _Batch(found, legs, done, [(one.why, one.id) for one in left])

    async def _pass_by(self, bulk_id: UUID, refused: "_RefusedBatch") -> bool:
        """Leave the one task alone that is refused."""
        async with self._db.transaction() as transaction:
            row = await self._begin(transaction, bulk_id, 1)
            if row is None:
                return False
            (culprit,) = refused.ids
            following = replace(
                row,
                position=UUID(int=culprit.int - 1),
                looked_at=row.looked_at + 1,
                left_alone=_with(row.left_alone, [(refused.why, culprit)]),
            )
            await self._write(transaction, following, has_ended=False)
        return True

    async def _give_up(self, bulk_id: UUID, refused: "_RefusedBatch") -> bool:
        """End an act whose tasks cannot even be looked for: others wait behind it."""
        async with self._db.transaction() as transaction:
            row = await self._begin(transaction, bulk_id, 1)
            if row is not None:
                error = f"its tasks cannot be looked for: {one_line(refused.error)}"
                await bulk.advance(transaction, replace(row, error=error), has_ended=True)
        return False

    async def _write(self, transaction: Statements, row: BulkRow, *, has_ended: bool) -> None:
        await bulk.advance(transaction, row, has_ended=has_ended)
        if row.audit_id is not None:
            left = {why: said["count"] for why, said in row.left_alone.items()}
            await audit.count(transaction, row.audit_id, counts(row.done, left))


@dataclass(frozen=True, slots=True)
class _Batch:
    """What a batch has found and done."""

    found: FoundTasks
    legs: int
    done: DoneTo
    left: Sequence[tuple[Why, UUID]]


class _RefusedBatch(Exception):
    """Postgres has refused a batch: because of one of its tasks, or it took too long."""

    def __init__(self, size: int, ids: Sequence[UUID], error: Exception) -> None:
        super().__init__(size)
        self.size = size
        self.ids = ids
        self.error = error

    @property
    def why(self) -> Why:
        """Why its task, which is one, is left alone."""
        reasons = {LOCK_NOT_AVAILABLE: Why.LOCKED, TAKEN: Why.KEY_TAKEN}
        return reasons.get(sqlstate(self.error) or "", Why.REFUSED)


def _may_be_of_one(error: Exception) -> bool:
    """Whether one task may be the cause, and not that a server is away."""
    cause = cause_of(error)
    return sqlstate(error) is not None and (cause is None or cause.kind is Kind.STATEMENT)


async def _find(
    transaction: Statements, meant: Meant, row: BulkRow, size: int
) -> tuple[FoundTasks, int]:
    """The batch's tasks; and how many legs the walk has."""
    legs = walk.legs_of(meant)
    assert row.position is not None  # noqa: S101 - else it has ended
    window = min(size * LOOKED_PER_TASK, WINDOW)
    found = await walk.find(
        transaction, legs[row.leg], meant, row.position, window=window, batch=size
    )
    return found, len(legs)


def _after(row: BulkRow, batch: _Batch, size: int, seconds: float) -> BulkRow:
    """The row after a batch that took so long; without a position it has ended."""
    leg, position = row.leg, walk.below(batch.found)
    if position is None and leg + 1 < batch.legs:
        leg, position = leg + 1, row.upper_id
    return replace(
        row,
        leg=leg,
        position=position,
        batch=_next_size(size, seconds),
        looked_at=row.looked_at + batch.found.looked,
        done=row.done + len(batch.done.ids),
        left_alone=_with(row.left_alone, batch.left),
    )


def _next_size(size: int, seconds: float) -> int:
    if seconds < QUICK_SECONDS:
        return min(size * 2, LARGEST)
    return max(size // 2, SMALLEST) if seconds > SLOW_SECONDS else max(size, SMALLEST)


def _with(
    there: Mapping[str, Mapping[str, Any]], left: Sequence[tuple[Why, UUID]]
) -> dict[str, Mapping[str, Any]]:
    """What was left alone, with these: how many for each reason, and the first ids."""
    said: dict[str, Mapping[str, Any]] = {**there}
    for why, id_ in left:
        before = said.get(why, {"count": 0, "ids": []})
        ids = [*before["ids"], str(id_)][:SHOWN]
        said[str(why)] = {"count": before["count"] + 1, "ids": ids}
    return said
