"""The statements that write how an attempt ended. Each has a guard.

Success requires "not settled", every other outcome "not settled and still this attempt". What finds
no row has changed nothing: somebody else has decided.
"""

from collections.abc import Sequence
from uuid import UUID

from uow.db.models import TaskState
from uow.db.statement import (
    BOOLEAN,
    ID,
    IDS,
    INTEGER,
    REAL,
    REALS,
    TEXT,
    TEXTS,
    Statement,
    Statements,
    template,
)
from uow.telemetry.description import describe

_SUCCEED = template(
    "succeed",
    """
    UPDATE {task}
    SET state = 'succeeded', result = CAST(:result AS json), settled_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => :retention)
    WHERE id = :id AND {unsettled}
    RETURNING id
    """,
    id=ID,
    retention=REAL,
)

_SUCCEED_MANY = template(
    "succeed_many",  # in the order of :ids, and by the key, as `start_many`
    """
    UPDATE {task} AS task
    SET state = 'succeeded', result = CAST(given.result AS json),
        settled_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => given.retention)
    FROM (SELECT * FROM unnest(:ids, :results, :retentions) LIMIT cardinality(:ids))
             AS given (id, result, retention)
         CROSS JOIN LATERAL (
             SELECT id FROM {task} AS candidate
             WHERE candidate.id = given.id AND {unsettled}
             FOR UPDATE) AS unsettled
    WHERE task.id = unsettled.id
    RETURNING task.id
    """,
    ids=IDS,
    results=TEXTS,
    retentions=REALS,
)

_FAIL = template(
    "fail",
    """
    WITH decided AS (
        UPDATE {task}
        SET state = CAST(:state AS text), ended = CAST(:state AS text),
            tries = tries + :counted, setback = NULL, setbacks = 0,
            settled_at = clock_timestamp(),
            expires_at = clock_timestamp() + make_interval(secs => :retention)
        WHERE id = :id AND {unsettled} AND attempt = :attempt
        RETURNING id, attempt, worker, started_at
    )
    {record_error}
    """,
    id=ID,
    attempt=INTEGER,
    retention=REAL,
)

_RETRY = template(
    "retry",
    """
    WITH decided AS (
        UPDATE {task}
        SET state = 'retrying', tries = tries + 1, setback = NULL, setbacks = 0,
            unknown_since = NULL, {again_after_delay}
        WHERE id = :id AND {unsettled} AND attempt = :attempt
        RETURNING id, attempt, worker, started_at
    )
    {record_error}
    """,
    id=ID,
    attempt=INTEGER,
)

_HAND_BACK = template(
    "hand_back",
    # How often in a row something has cut it short is counted, whatever the names, as one event has
    # several, by its timing. If the server itself went away meanwhile, and without a :setback, the
    # attempt says nothing about the task, and the count stays.
    """
    UPDATE {task}
    SET state = :state, worker = NULL, {again_after_delay},
        unknown_since = CASE WHEN :is_stray THEN coalesce(unknown_since, now()) END,
        setback = CASE WHEN :state = 'scheduled' THEN NULL
                       WHEN {says_nothing} THEN setback
                       ELSE :setback END,
        setbacks = CASE WHEN :state = 'scheduled' THEN 0
                        WHEN {says_nothing} THEN setbacks
                        ELSE setbacks + 1 END
    WHERE id = :id AND {unsettled} AND attempt = :attempt
    RETURNING setbacks
    """,
    id=ID,
    attempt=INTEGER,
    is_stray=BOOLEAN,
    setback=TEXT,
)

_READ_BACK = template(
    "read_back",
    """
    SELECT settled_at IS NOT NULL AS settled, state, attempt
    FROM {task} WHERE id = :id FOR UPDATE
    """,
    id=ID,
)


def succeed(task_id: UUID, result: str, retention: float) -> Statement:
    """Success, in the attempt's own transaction and in one message with its COMMIT.

    Args:
        result: As JSON.
        retention: Seconds that the settled task is kept.
    """
    return _SUCCEED(id=task_id, result=result, retention=retention)


async def succeed_many(
    db: Statements, ids: Sequence[UUID], results: Sequence[str], retentions: Sequence[float]
) -> list[UUID]:
    """Success of each, whose attempts have nothing else to commit; fields as of `succeed`.

    Args:
        ids: Sorted.

    Returns:
        Those whose guard held.
    """
    statement = _SUCCEED_MANY(ids=ids, results=results, retentions=retentions)
    return [id_ for (id_,) in await db.execute_once(statement)]


async def fail(
    db: Statements,
    task_id: UUID,
    attempt: int,
    error: BaseException,
    retention: float,
    *,
    state: TaskState = TaskState.FAILED,
    counted: bool = True,
) -> bool:
    """Settle it as failed, or cancelled by the function, with its error.

    Args:
        retention: Seconds that the settled task is kept.
        state: ``FAILED`` or ``CANCELLED``.
        counted: It was a try.

    Returns:
        False: the guard did not hold.
    """
    statement = _FAIL(
        id=task_id,
        attempt=attempt,
        state=state,
        counted=int(counted),
        retention=retention,
        **describe(error),
    )
    return bool(await db.execute_once(statement))


async def retry(
    db: Statements, task_id: UUID, attempt: int, error: BaseException, delay: float
) -> bool:
    """Another attempt after `delay` seconds, with the error of this one.

    Returns:
        False: the guard did not hold.
    """
    statement = _RETRY(id=task_id, attempt=attempt, delay=delay, **describe(error))
    return bool(await db.execute_once(statement))


async def hand_back(
    db: Statements,
    task_id: UUID,
    attempt: int,
    delay: float,
    *,
    setback: str | None = None,
    is_stray: bool = False,
) -> int | None:
    """Another attempt after `delay` seconds that burns no try: shutdown, a server away.

    Args:
        setback: What has cut the attempt short, if the task may have brought it about.
        is_stray: Its function is not here as it is needed: since when is remembered, until it was;
            its start alone does not tell.

    Returns:
        How often in a row something has cut it short; None: the guard did not hold.
    """
    statement = _HAND_BACK(
        id=task_id,
        attempt=attempt,
        state=TaskState.QUEUED,
        delay=delay,
        setback=setback,
        is_stray=is_stray,
    )
    records = await db.execute_once(statement)
    return records[0][0] if records else None


async def snooze(db: Statements, task_id: UUID, attempt: int, delay: float) -> bool:
    """Another attempt after `delay` seconds: the function got as far as it wanted.

    Returns:
        False: the guard did not hold.
    """
    statement = _HAND_BACK(
        id=task_id,
        attempt=attempt,
        state=TaskState.SCHEDULED,
        delay=delay,
        setback=None,
        is_stray=False,
    )
    return bool(await db.execute_once(statement))


async def was_committed(db: Statements, task_id: UUID, attempt: int) -> bool:
    """Whether a COMMIT whose answer was lost has settled the task as succeeded by this attempt.

    It waits for that COMMIT, should it still be going on.
    """
    records = await db.execute_once(_READ_BACK(id=task_id))
    return any((state, last) == (TaskState.SUCCEEDED, attempt) for _, state, last in records)
