"""The statements that list tasks along what has happened to them: errors, and ticks of schedules.

As those of `uow.db.lists`; but the order is that of the errors and of the ticks.
"""

from datetime import datetime

from sqlalchemy import BigInteger

from uow.db.listing import (
    COLUMNS,
    ERRORS,
    FITS,
    TOLD,
    TYPES,
    WAYS,
    WINDOW_OF_KEY,
    Fit,
    Seen,
    seen,
    values_of,
)
from uow.db.lists import Along
from uow.db.statement import MOMENT, TEXT, Statements, template

_BIG = BigInteger()


_IS_LAST = f"""(SELECT true FROM {ERRORS}
     WHERE error_type = :error AND id > looked.error_id LIMIT 1) IS NULL"""  # noqa: S608
"""A task is there once: for its last error of the type. Asked of rows that fit alone."""


def _by_error(way: str) -> str:
    return f"""
    SELECT 1, place, fits AND {_IS_LAST}, error_id, CAST(NULL AS timestamptz), {TOLD}
    FROM (
        SELECT looked.*, row_number() OVER (ORDER BY error_type {way}, error_id {way}) AS place,
               {FITS}
        FROM (SELECT {COLUMNS}, task.args, mark.error_id, mark.error_type
              FROM (SELECT error_type, id AS error_id, task_id FROM {{task_error}}
                    WHERE (error_type, id) > (:error, :above)
                      AND (error_type, id) < (:error, :below)
                    ORDER BY error_type {way}, id {way} LIMIT :window) AS mark
              CROSS JOIN LATERAL (SELECT * FROM {{task}} AS one
                                  WHERE one.id = mark.task_id LIMIT 1) AS task) AS looked
    ) AS looked
    WHERE fits AND {_IS_LAST} OR place = :window
    ORDER BY error_type {way}, error_id {way} LIMIT :most
    """  # noqa: S608 - words of ours alone


_BY_ERROR = {
    direction: template(
        f"list_{direction}_by_error", _by_error(way), **TYPES, above=_BIG, below=_BIG
    )
    for direction, way in WAYS.items()
}


def _by_schedule(way: str) -> str:
    return f"""
    SELECT arm.number, place, fits, CAST(NULL AS bigint), tick, {TOLD}
    FROM (SELECT app, row_number() OVER () AS number FROM {{schedule}}
          WHERE name = :schedule) AS arm
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT looked.*, looked.id IS NOT NULL AND {FITS}
            FROM (SELECT {COLUMNS}, task.args, mark.tick, mark.place
                  FROM (SELECT tick, task_id, row_number() OVER (ORDER BY tick {way}) AS place
                        FROM (SELECT tick, task_id FROM {{schedule_tick}}
                              WHERE app = arm.app AND name = :schedule
                                AND tick > :above AND tick < :below
                              ORDER BY tick {way} LIMIT :window) AS ticks) AS mark
                  LEFT JOIN LATERAL (SELECT * FROM {{task}} AS one
                                     WHERE one.id = mark.task_id LIMIT 1) AS task ON true
                 ) AS looked
        ) AS numbered
        WHERE fits OR place = :window
        ORDER BY tick {way} LIMIT :most
    ) AS found
    """  # noqa: S608 - words of ours alone


_BY_SCHEDULE = {
    direction: template(
        f"list_{direction}_by_schedule", _by_schedule(way), **TYPES, schedule=TEXT, above=MOMENT,
        below=MOMENT,
    )
    for direction, way in WAYS.items()
}  # fmt: skip


async def by_error(db: Statements, fit: Fit, along: Along, *, above: int, below: int) -> list[Seen]:
    """Tasks with an error of the type that `fit` says, each at its last one.

    Args:
        above, below: Ids of errors; neither is looked at.
    """
    values = values_of(fit, along.left_of(WINDOW_OF_KEY), along.most)
    statement = _BY_ERROR[along.direction](above=above, below=below, **values)
    return seen(await db.execute_once(statement))


async def by_schedule(
    db: Statements, schedule: str, fit: Fit, along: Along, *, above: datetime, below: datetime
) -> list[Seen]:
    """Tasks that the schedules of this name have asked for, an arm for each service's.

    Args:
        above, below: Ticks; neither is looked at.
    """
    values = values_of(fit, along.left_of(WINDOW_OF_KEY), along.most)
    statement = _BY_SCHEDULE[along.direction](schedule=schedule, above=above, below=below, **values)
    return seen(await db.execute_once(statement))
