"""The statements that list tasks, each along an index and for a bounded number of rows.

An index alone is not enough: for any `ORDER BY id LIMIT` the planner takes the primary key, and
reads a table for a rare name. So each says its driver as a range, and is to be run in a
`uow.db.bounded.bounded_reading`. All that a driver does not say is looked at in the rows of its
window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.types import TypeEngine

from uow.db.listing import (
    COLUMNS,
    FITS,
    TOLD,
    TYPES,
    WAYS,
    WINDOW,
    WINDOW_OF_KEY,
    Arm,
    Direction,
    Fit,
    Seen,
    seen,
    values_of,
)
from uow.db.statement import ID, IDS, TEXTS, Statements, Template, template

_ARMS: Mapping[str, TypeEngine[Any]] = {"keys": TEXTS, "lows": IDS, "highs": IDS}


def _along(
    driver: str, key: str = "", value: str = "arm.key", which: str = "true"
) -> Mapping[Direction, Template]:
    """Statements along an index of `key` and the id, where that is `value`; without a key along the
    ids."""
    return {
        direction: template(
            f"list_{direction}_{driver}",
            _walk(key, way, _of_key(key, value, which, way) if key else _OF_IDS),
            **TYPES,
            **_ARMS,
        )
        for direction, way in WAYS.items()
    }


_OF_IDS = "id > arm.low AND id < arm.high", "true", "true"


def _of_key(key: str, value: str, which: str, way: str) -> tuple[str, str, str]:
    """What is said of the rows of the index, what of those of the window, and what of the arm.

    Postgres can begin anywhere in a key, if that is said as a row, but ends at the end of the key:
    the end of the arm is for the rows of the window. Nor is an arm looked at without any task, as
    there are none of older kinds in most tables.
    """
    begin, stop, rest = {
        "DESC": (f"({key}, id) < ({value}, arm.high)", f"{key} >= {value}", "id > arm.low"),
        "ASC": (f"({key}, id) > ({value}, arm.low)", f"{key} <= {value}", "id < arm.high"),
    }[way]
    is_any = """(SELECT true FROM {task} AS one WHERE one.id > arm.low AND one.id < arm.high
           ORDER BY one.id LIMIT 1)"""
    return f"{which} AND {begin} AND {stop}", rest, is_any


def _walk(key: str, way: str, said: tuple[str, str, str]) -> str:
    of_index, of_window, of_arm = said
    order = f"{key} {way}, id {way}" if key else f"id {way}"
    named = f", {key} AS walked" if key and key != "user_id" else ""
    return f"""
    SELECT arm.number, found.place, found.fits, CAST(NULL AS bigint), CAST(NULL AS timestamptz),
           {TOLD}
    FROM unnest(:keys, :lows, :highs) WITH ORDINALITY AS arm (key, low, high, number)
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT looked.*, row_number() OVER (ORDER BY {_renamed(order, key)}) AS place, {FITS}
            FROM (SELECT {COLUMNS}, task.args{named} FROM {{task}} AS task
                  WHERE {of_index}
                  ORDER BY {order} LIMIT :window) AS looked
            WHERE {of_window}
        ) AS numbered
        WHERE fits OR place = :window
        ORDER BY {_renamed(order, key)} LIMIT :most
    ) AS found
    WHERE {of_arm}
    """  # noqa: S608 - words of ours alone


def _renamed(order: str, key: str) -> str:
    return order if key in ("", "user_id") else order.replace(key, "walked")


_BY_ID = _along("by_id")
_BY_USER = _along("by_user", "user_id")
_ENDED = _along("ended", "ended")
_PUSHED = _along("pushed", "dispatch_at", "CAST('infinity' AS timestamptz)", "settled_at IS NULL")


def _unpushed(way: str) -> str:
    # Their index is in the order in which they are due: the window is, and what fits is sorted.
    older = {"DESC": "ASC", "ASC": "DESC"}[way]
    return f"""
    SELECT 1, place, fits, CAST(NULL AS bigint), CAST(NULL AS timestamptz), {TOLD}
    FROM (
        SELECT looked.*, row_number() OVER (ORDER BY dispatch_at, id) AS place, {FITS}
        FROM (SELECT {COLUMNS}, task.args, task.dispatch_at FROM {{task}} AS task
              WHERE settled_at IS NULL AND dispatch_at < 'infinity'
              ORDER BY dispatch_at, id LIMIT :window) AS looked
    ) AS numbered
    WHERE fits AND (id > :low AND id < :high OR id > :old_low AND id < :old_high)
       OR place = :window
    ORDER BY place = :window DESC, id > :start {older}, id {way} LIMIT :most
    """  # noqa: S608 - words of ours alone


_RANGES: Mapping[str, TypeEngine[Any]] = {
    "low": ID,
    "high": ID,
    "old_low": ID,
    "old_high": ID,
    "start": ID,
}

_UNPUSHED = {
    direction: template(f"list_{direction}_unpushed", _unpushed(way), **TYPES, **_RANGES)
    for direction, way in WAYS.items()
}


def _running(way: str) -> str:
    older = {"DESC": "ASC", "ASC": "DESC"}[way]
    return f"""
    SELECT 1, CAST(0 AS bigint), fits, CAST(NULL AS bigint), CAST(NULL AS timestamptz), {TOLD}
    FROM (
        SELECT looked.*, {FITS}
        FROM (SELECT DISTINCT unnest(running) AS id FROM {{worker_process}}
              WHERE CAST(:worker AS text) IS NULL OR id = :worker LIMIT :window) AS beat
        CROSS JOIN LATERAL (SELECT {COLUMNS}, task.args FROM {{task}} AS task
                            WHERE task.id = beat.id LIMIT 1) AS looked
    ) AS numbered
    WHERE fits AND (id > :low AND id < :high OR id > :old_low AND id < :old_high)
    ORDER BY id > :start {older}, id {way} LIMIT :most
    """  # noqa: S608 - words of ours alone


_RUNNING = {
    direction: template(f"list_{direction}_running", _running(way), **TYPES, **_RANGES)
    for direction, way in WAYS.items()
}


@dataclass(frozen=True, slots=True)
class Along:
    """How a list goes on.

    Attributes:
        most: Rows that each of its arms may tell.
        looked_at: Rows of its windows that were looked at before.
    """

    direction: Direction
    most: int
    looked_at: int = 0

    def left_of(self, window: int) -> int:
        """The rows of a window that are still to be looked at."""
        return max(window - self.looked_at, 1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The ids between which tasks are looked for, where no index is in their order.

    Attributes:
        low, high: Of those that are made now; neither is in it.
        old_low, old_high: Of those of older kinds, which are all above `start`.
    """

    low: UUID
    high: UUID
    old_low: UUID
    old_high: UUID
    start: UUID


async def by_id(db: Statements, arms: Sequence[Arm], fit: Fit, along: Along) -> list[Seen]:
    """Tasks along their ids."""
    return await _walked(db, _BY_ID, arms, fit, along, WINDOW)


async def by_user(db: Statements, arms: Sequence[Arm], fit: Fit, along: Along) -> list[Seen]:
    """Tasks of the users that the arms name."""
    return await _walked(db, _BY_USER, arms, fit, along, WINDOW_OF_KEY)


async def ended(db: Statements, arms: Sequence[Arm], fit: Fit, along: Along) -> list[Seen]:
    """Tasks that have ended as the arms name it: ``failed`` or ``cancelled``."""
    return await _walked(db, _ENDED, arms, fit, along, WINDOW_OF_KEY)


async def pushed(db: Statements, arms: Sequence[Arm], fit: Fit, along: Along) -> list[Seen]:
    """Unsettled tasks whose jobs are in Redis."""
    return await _walked(db, _PUSHED, arms, fit, along, WINDOW)


async def unpushed(db: Statements, within: Stretch, fit: Fit, along: Along) -> list[Seen]:
    """Unsettled tasks that are not in Redis yet; looked at are the `WINDOW` that are due first.

    If there are more, the first row says so and need not fit.
    """
    return await _stretched(db, _UNPUSHED, within, fit, along)


async def running(db: Statements, within: Stretch, fit: Fit, along: Along) -> list[Seen]:
    """Tasks that the processes said at their last heartbeat to be running."""
    return await _stretched(db, _RUNNING, within, fit, along)


async def _walked(
    db: Statements,
    which: Mapping[Direction, Template],
    arms: Sequence[Arm],
    fit: Fit,
    along: Along,
    window: int,
) -> list[Seen]:
    statement = which[along.direction](
        keys=[arm.key for arm in arms],
        lows=[arm.low for arm in arms],
        highs=[arm.high for arm in arms],
        **values_of(fit, along.left_of(window), along.most),
    )
    return seen(await db.execute_once(statement))


async def _stretched(
    db: Statements,
    which: Mapping[Direction, Template],
    within: Stretch,
    fit: Fit,
    along: Along,
) -> list[Seen]:
    statement = which[along.direction](**asdict(within), **values_of(fit, WINDOW, along.most))
    return seen(await db.execute_once(statement))
