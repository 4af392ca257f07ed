"""The statements about bulk acts: the preview, its confirmation, how far the act is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uow.db.statement import BOOLEAN, ID, IDS, INTEGER, REAL, TEXT, Statements, template

GOOD_SECONDS = 15 * 60
"""How long a preview can be confirmed."""

_COLUMNS = """
    SELECT id, act, CAST(options AS text) AS options, CAST(filter AS text) AS filter, reason, who,
    face, address, previewed_at, upper_id, count, is_exact, samples, key, confirmed_at, audit_id,
    leg, position, batch, looked_at, done, CAST(left_alone AS text) AS left_alone, stopped_by,
    ended_at, error
    FROM {bulk_act}"""

_ROW = f"{_COLUMNS} WHERE id = :id"

_KEEP_PREVIEW = template(
    "keep_preview",
    """
    INSERT INTO {bulk_act} (id, act, options, filter, reason, who, face, address, previewed_at,
                            upper_id, count, is_exact, samples, position, batch)
    VALUES (:id, :act, CAST(:options AS jsonb), CAST(:filter AS jsonb), :reason, :who, :face,
            :address, :previewed_at, :upper_id, :count, :is_exact, :samples, :upper_id, :batch)
    """,
    id=ID,
    upper_id=ID,
    samples=IDS,
    count=INTEGER,
    batch=INTEGER,
    is_exact=BOOLEAN,
)

_READ_BULK = template("read_bulk", _ROW, id=ID)

_NEWEST_BULK = template("newest_bulk", f"{_COLUMNS} ORDER BY id DESC LIMIT :limit", limit=INTEGER)

_LOCK_BULK = template("lock_bulk", f"{_ROW} FOR UPDATE", id=ID)

_FIND_KEY = template("find_key", "SELECT id FROM {bulk_act} WHERE key = :key", key=TEXT)

_CONFIRM_BULK = template(
    "confirm_bulk",
    """
    UPDATE {bulk_act}
    SET confirmed_at = now(), key = :key, who = :who, face = :face, address = :address,
        audit_id = :audit_id
    WHERE id = :id AND confirmed_at IS NULL
      AND previewed_at > now() - make_interval(secs => :good)
    RETURNING 1
    """,
    id=ID,
    key=TEXT,
    address=TEXT,
    good=REAL,
)

_FIND_RUNNING_BULK = template(
    "find_running_bulk",
    """
    SELECT id FROM {bulk_act} WHERE confirmed_at IS NOT NULL AND ended_at IS NULL
    ORDER BY confirmed_at LIMIT :limit
    """,
    limit=INTEGER,
)

_ADVANCE_BULK = template(
    "advance_bulk",
    """
    UPDATE {bulk_act}
    SET leg = :leg, position = :position, batch = :batch, looked_at = :looked_at, done = :done,
        left_alone = CAST(:left_alone AS jsonb), error = :error,
        ended_at = CASE WHEN :has_ended THEN clock_timestamp() END
    WHERE id = :id
    """,
    id=ID,
    position=ID,
    has_ended=BOOLEAN,
    error=TEXT,
)

_STOP_BULK = template(
    "stop_bulk",
    """
    UPDATE {bulk_act} SET stopped_by = :who
    WHERE id = :id AND confirmed_at IS NOT NULL AND ended_at IS NULL AND stopped_by IS NULL
    RETURNING 1
    """,
    id=ID,
)

_LIMIT_TIME = template(
    "limit_time",
    """
    SELECT set_config('lock_timeout', :lock, true),
           set_config('statement_timeout', :statement, true)
    """,
    lock=TEXT,
    statement=TEXT,
)

_PRUNE_BULK = template(
    "prune_bulk",
    """
    DELETE FROM {bulk_act}
    WHERE ended_at < now() - make_interval(secs => :retention)
       OR confirmed_at IS NULL AND previewed_at < now() - interval '1 day'
    RETURNING 1
    """,
    retention=REAL,
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a bulk act would be done to.

    Attributes:
        options, filter: As JSON.
        count: How many tasks were found; more than that if it is not exact.
    """

    id: UUID
    act: str
    options: str
    filter: str
    reason: str | None
    who: str
    face: str
    address: str | None
    previewed_at: datetime
    upper_id: UUID | None
    count: int
    is_exact: bool
    samples: Sequence[UUID]
    batch: int


@dataclass(frozen=True, slots=True)
class BulkRow:
    """A bulk act as its row says it: see `BulkAct`."""

    id: UUID
    act: str
    options: Mapping[str, int]
    filter: Mapping[str, str]
    reason: str | None
    who: str
    face: str
    address: str | None
    previewed_at: datetime
    upper_id: UUID | None
    count: int
    is_exact: bool
    samples: Sequence[UUID]
    key: str | None
    confirmed_at: datetime | None
    audit_id: int | None
    leg: int
    position: UUID | None
    batch: int
    looked_at: int
    done: int
    left_alone: Mapping[str, Mapping[str, Any]]
    stopped_by: str | None
    ended_at: datetime | None
    error: str | None


async def keep(db: Statements, preview: Preview) -> None:
    """Keep a preview, to be confirmed."""
    values = {name: getattr(preview, name) for name in Preview.__slots__}
    await db.execute_once(_KEEP_PREVIEW(**values))


async def read(db: Statements, bulk_id: UUID) -> BulkRow | None:
    """A bulk act; None: it is not there."""
    for record in await db.execute_once(_READ_BULK(id=bulk_id)):
        return _row(record)
    return None


async def newest(db: Statements, limit: int) -> list[BulkRow]:
    """The newest, previews that nobody has confirmed among them."""
    return [_row(record) for record in await db.execute_once(_NEWEST_BULK(limit=limit))]


async def lock(db: Statements, bulk_id: UUID) -> BulkRow | None:
    """A bulk act, which nobody else changes until the transaction's end."""
    for record in await db.execute_once(_LOCK_BULK(id=bulk_id)):
        return _row(record)
    return None


async def find_key(db: Statements, key: str) -> UUID | None:
    """The bulk act that was confirmed with this idempotency key."""
    for (id_,) in await db.execute_once(_FIND_KEY(key=key)):
        return UUID(str(id_))
    return None


async def confirm(
    db: Statements,
    bulk_id: UUID,
    *,
    key: str | None,
    who: str,
    face: str,
    address: str | None,
    audit_id: int,
) -> bool:
    """Let the leader run it; False: its preview is too old, or it was confirmed.

    Raises:
        asyncpg.UniqueViolationError: Another was confirmed with this key.
    """
    statement = _CONFIRM_BULK(
        id=bulk_id, key=key, who=who, face=face, address=address, audit_id=audit_id,
        good=GOOD_SECONDS,
    )  # fmt: skip
    return bool(await db.execute_once(statement))


async def running(db: Statements, limit: int) -> list[UUID]:
    """Those that were confirmed and have not ended, the oldest first."""
    return [id_ for (id_,) in await db.execute_once(_FIND_RUNNING_BULK(limit=limit))]


async def advance(db: Statements, row: BulkRow, *, has_ended: bool) -> None:
    """Write how far it is."""
    statement = _ADVANCE_BULK(
        id=row.id, leg=row.leg, position=row.position, batch=row.batch, looked_at=row.looked_at,
        done=row.done, left_alone=json.dumps(row.left_alone), error=row.error,
        has_ended=has_ended,
    )  # fmt: skip
    await db.execute_once(statement)


async def stop(db: Statements, bulk_id: UUID, who: str) -> bool:
    """Ask for its end before the next batch; False: it does not run, or somebody has asked."""
    return bool(await db.execute_once(_STOP_BULK(id=bulk_id, who=who)))


async def limit_time(db: Statements, *, lock_ms: int, statement_ms: int) -> None:
    """Let each statement of this transaction take so long at most, and wait so long for a lock."""
    await db.execute_once(_LIMIT_TIME(lock=f"{lock_ms}ms", statement=f"{statement_ms}ms"))


async def prune(db: Statements, retention: float) -> int:
    """Forget what has ended more than `retention` seconds ago, and previews of another day."""
    return len(await db.execute_once(_PRUNE_BULK(retention=retention)))


def _row(record: Any) -> BulkRow:
    values = dict(zip(BulkRow.__slots__, record, strict=True))
    for name in ("options", "filter", "left_alone"):
        values[name] = json.loads(values[name])
    return BulkRow(**values)
