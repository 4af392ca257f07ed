"""The statements about what was answered to acts with an idempotency key."""

from dataclasses import dataclass

from uow.db.statement import INTEGER, REAL, TEXT, Statements, template

_TAKE_KEY = template(
    "take_key",
    # Another transaction that has taken it and goes on is waited for: with its commit it is taken.
    """
    INSERT INTO {act_answer} (who, key, request, status, body)
    VALUES (:who, :key, :request, :status, :body)
    ON CONFLICT DO NOTHING RETURNING 1
    """,
    status=INTEGER,
    body=TEXT,
)

_COMPLETE_ANSWER = template(
    "complete_answer",
    "UPDATE {act_answer} SET body = :body WHERE who = :who AND key = :key",
)

_READ_ANSWER = template(
    "read_answer",
    "SELECT request, status, body FROM {act_answer} WHERE who = :who AND key = :key",
)

_FORGET_ANSWERS = template(
    "forget_answers",
    """
    DELETE FROM {act_answer} WHERE (who, key) IN (
        SELECT who, key FROM {act_answer} WHERE at < now() - make_interval(secs => :kept)
        ORDER BY at LIMIT :limit)
    RETURNING 1
    """,
    kept=REAL,
    limit=INTEGER,
)

KEPT_SECONDS = 2 * 86_400.0
"""How long a key is known."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered.

    Attributes:
        request: The digest of what was asked.
        body: None: there is none, or whoever had it to give died before it was kept.
    """

    request: str
    status: int
    body: str | None


async def take(db: Statements, who: str, key: str, answer: KeptAnswer) -> bool:
    """Take a key; False: it is taken already.

    In the transaction of an act, it is taken if that commits, and only one such act does.
    """
    statement = _TAKE_KEY(
        who=who, key=key, request=answer.request, status=answer.status, body=answer.body
    )
    return bool(await db.execute_once(statement))


async def complete(db: Statements, who: str, key: str, body: str) -> None:
    """Keep the body of an answer whose key is taken."""
    await db.execute_once(_COMPLETE_ANSWER(who=who, key=key, body=body))


async def read(db: Statements, who: str, key: str) -> KeptAnswer | None:
    """What was answered to this caller under this key; None: nothing yet."""
    for record in await db.execute_once(_READ_ANSWER(who=who, key=key)):
        return KeptAnswer(*record)
    return None


async def forget(db: Statements, limit: int) -> int:
    """Forget keys that are older than `KEPT_SECONDS`; returns how many it were."""
    return len(await db.execute_once(_FORGET_ANSWERS(kept=KEPT_SECONDS, limit=limit)))
