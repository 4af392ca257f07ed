"""Bulk acts: a preview, which is to be confirmed; the leader runs them (`uow.acts.batches`)."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from uow.acts import meaning
from uow.acts.actor import Actor
from uow.acts.kinds import Act
from uow.acts.named import act_of
from uow.acts.noted import counts, entry, note, reason_of
from uow.client import TaskClient
from uow.clock import utcnow
from uow.db import acts, audit, bulk, walk
from uow.db.audit import AuditNote
from uow.db.bulk import BulkRow, Preview
from uow.db.failures import PASSING, sqlstate
from uow.db.statement import Statements
from uow.db.walk import Meant, Sample
from uow.errors import ActRefused, BulkActNotFound
from uow.ids import new_id
from uow.names import is_storable
from uow.questions.filters import TaskFilter
from uow.tasks.interventions import TAKEN

COUNTED = 10_000
"""Tasks that a preview counts; that there are more is said as such."""

COUNTING_SECONDS = 1.0
"""How long it counts."""

WINDOW = 5000
"""Rows that one statement looks at: some ten milliseconds."""

SAMPLES = 5

FIRST_BATCH = 250
"""Tasks of a bulk act's first batch; how many follow depends on how long it took."""

BulkState = Literal["previewed", "running", "stopping", "stopped", "done", "failed"]


@dataclass(frozen=True, slots=True)
class BulkView:
    """A bulk act as it stands.

    Attributes:
        row: What its row says.
        samples: Those of the preview's tasks that are still there.
    """

    row: BulkRow
    samples: list[Sample]

    @property
    def state(self) -> BulkState:
        """How far it is."""
        return state_of(self.row)

    @property
    def is_too_old(self) -> bool:
        """Whether it is a preview that can be confirmed no longer."""
        good_until = self.row.previewed_at + timedelta(seconds=bulk.GOOD_SECONDS)
        return self.state == "previewed" and good_until <= utcnow()


def state_of(row: BulkRow) -> BulkState:
    """How far a bulk act is."""
    if row.confirmed_at is None:
        return "previewed"
    if row.ended_at is None:
        return "running" if row.stopped_by is None else "stopping"
    if row.error is not None:
        return "failed"
    return "done" if row.stopped_by is None else "stopped"


class BulkActs:
    """Previews, confirms and stops acts on all tasks that a filter means.

    Args:
        client: An open client.
    """

    def __init__(self, client: TaskClient) -> None:
        self._db = client.db
        self._redis = client.redis
        self._retention = client.settings.retention

    async def preview(
        self,
        name: str,
        which: TaskFilter,
        by: Actor,
        *,
        options: Mapping[str, int] | None = None,
        reason: str | None = None,
    ) -> BulkView:
        """What an act would be done to: how many tasks, and five of them; good for 15 minutes.

        Nothing that is asked for, or settled, afterwards is meant.

        Raises:
            InvalidOptions: There is no such act, or its options do not fit.
            InvalidFilter: The filter says nothing, or names arguments.
        """
        act = act_of(name, options or {}, self._redis, self._retention)
        if not which:
            raise ActRefused("say which tasks are meant: a bulk act needs a filter")
        async with self._db.transaction() as transaction:
            await acts.go_by_key(transaction)
            preview = await _looked(transaction, act, which, by, reason)
            await bulk.keep(transaction, preview)
        return await self.get(preview.id)

    async def confirm(self, bulk_id: UUID, by: Actor, key: str | None = None) -> BulkView:
        """Let the leader run what was previewed.

        Args:
            key: Asked again with the same one by the same caller, this changes nothing and answers
                the same.

        Raises:
            BulkActNotFound: There is no such preview.
            ActRefused: It is too old, was confirmed already, or the key was used for another.
        """
        if key is not None and not is_storable(key):
            raise ActRefused("that is no idempotency key: text of at most 255 characters")
        try:
            async with self._db.transaction() as transaction:
                await self._confirm(transaction, bulk_id, by, _own(by, key))
        except PASSING as error:
            if sqlstate(error) != TAKEN:
                raise
            raise ActRefused("another bulk act was confirmed with this idempotency key") from error
        return await self.get(bulk_id)

    async def get(self, bulk_id: UUID) -> BulkView:
        """A bulk act as it stands.

        Raises:
            BulkActNotFound: It is not there.
        """
        row = await bulk.read(self._db, bulk_id)
        if row is None:
            raise _not_found(bulk_id)
        async with self._db.transaction() as transaction:
            await acts.go_by_key(transaction)
            return BulkView(row, await walk.samples(transaction, row.samples))

    async def newest(self, limit: int = 50) -> list[BulkView]:
        """The newest bulk acts and previews, without their samples."""
        return [BulkView(row, []) for row in await bulk.newest(self._db, limit)]

    async def stop(self, bulk_id: UUID, by: Actor, reason: str | None = None) -> BulkView:
        """End it before its next batch; what was done stays done.

        Raises:
            BulkActNotFound: It is not there.
            ActRefused: It does not run.
        """
        async with self._db.transaction() as transaction:
            row = await bulk.lock(transaction, bulk_id)
            if row is None:
                raise _not_found(bulk_id)
            if state_of(row) not in ("running", "stopping"):
                raise ActRefused(f"bulk act {bulk_id} is {state_of(row)}: it does not run")
            if await bulk.stop(transaction, bulk_id, by.name):
                stopped = AuditNote(
                    who=by.name, face=by.face, address=by.address, what="stop", bulk_id=bulk_id,
                    reason=reason_of(reason),
                )  # fmt: skip
                await note(transaction, by, stopped)
        return await self.get(bulk_id)

    async def _confirm(
        self, transaction: Statements, bulk_id: UUID, by: Actor, key: str | None
    ) -> None:
        row = await bulk.lock(transaction, bulk_id)
        if row is None:
            raise _not_found(bulk_id)
        if row.confirmed_at is None:
            await self._begin(transaction, row, by, key)
        elif key is None or row.key != key:
            raise ActRefused(f"bulk act {bulk_id} was confirmed already: it is {state_of(row)}")

    async def _begin(
        self, transaction: Statements, row: BulkRow, by: Actor, key: str | None
    ) -> None:
        if key is not None and (other := await bulk.find_key(transaction, key)) is not None:
            raise ActRefused(f"with this idempotency key bulk act {other} was confirmed")
        act = act_of(row.act, row.options, self._redis, self._retention)
        noted = entry(
            act, by, bulk_id=row.id, filter=row.filter, reason=row.reason, done=counts(0, {})
        )
        number = await audit.note(transaction, noted)
        confirmed = await bulk.confirm(
            transaction, row.id, key=key, who=by.name, face=by.face, address=by.address,
            audit_id=number,
        )  # fmt: skip
        if not confirmed:
            raise ActRefused(
                f"the preview {row.id} is older than {bulk.GOOD_SECONDS // 60} minutes: look again"
            )


def _own(by: Actor, key: str | None) -> str | None:
    """The key as it is kept: two callers may have the same."""
    if key is None:
        return None
    return hashlib.sha256(json.dumps([by.name, key]).encode()).hexdigest()


async def _looked(
    db: Statements, act: Act, which: TaskFilter, by: Actor, reason: str | None
) -> Preview:
    at, upper = await walk.highest(db)
    meant = meaning.meant(which, act, at)
    ids, is_exact = ([], True) if upper is None else await _count(db, meant, upper)
    return Preview(
        id=new_id(),
        act=act.name,
        options=json.dumps(dict(act.options)),
        filter=json.dumps(meaning.said(which)),
        reason=reason_of(reason),
        who=by.name,
        face=by.face,
        address=by.address,
        previewed_at=at,
        upper_id=upper,
        count=len(ids),
        is_exact=is_exact,
        samples=ids[:SAMPLES],
        batch=FIRST_BATCH,
    )


async def _count(db: Statements, meant: Meant, upper: UUID) -> tuple[list[UUID], bool]:
    """The ids of the first that are meant, and whether that are all."""
    found: list[UUID] = []
    end = time.monotonic() + COUNTING_SECONDS
    for leg in walk.legs_of(meant):
        place: UUID | None = upper
        while place is not None:
            if len(found) >= COUNTED or time.monotonic() > end:
                return found, False
            part = await walk.find(db, leg, meant, place, window=WINDOW, batch=COUNTED - len(found))
            found += part.ids
            place = walk.below(part)
    return found, True


def _not_found(bulk_id: UUID) -> BulkActNotFound:
    return BulkActNotFound(f"Bulk act {bulk_id} not found")
