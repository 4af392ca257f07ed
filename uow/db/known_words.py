"""The statement that tells words that tasks may have: for completion, so no task is read for it."""

from collections import defaultdict
from dataclasses import dataclass

from uow.db.statement import INTEGER, Statements, template

MOST_WORDS = 300
"""Of each kind."""

_KNOWN_WORDS = template(
    "known_words",
    # What the code of workers has, and what has ended since yesterday, by the rollup.
    """
    (SELECT DISTINCT 'name' AS kind, unnest(names) AS word
     FROM (SELECT names FROM {worker_code} ORDER BY seen_at DESC LIMIT 20) AS code LIMIT :most)
    UNION (SELECT DISTINCT 'name', name FROM {rollup_hour}
           WHERE hour > now() - interval '25 hours' AND name <> '' LIMIT :most)
    UNION (SELECT DISTINCT 'queue', queue FROM {rollup_hour}
           WHERE hour > now() - interval '25 hours' AND name = '' AND queue <> '' LIMIT :most)
    UNION (SELECT DISTINCT 'queue', unnest(string_to_array(queue, ','))
           FROM {worker_process} LIMIT :most)
    UNION (SELECT DISTINCT 'error', error_type FROM {rollup_error}
           WHERE hour > now() - interval '25 hours' LIMIT :most)
    UNION (SELECT DISTINCT 'schedule', name FROM {schedule} LIMIT :most)
    UNION (SELECT 'worker', id FROM {worker_process} ORDER BY heartbeat_at DESC LIMIT 50)
    """,
    most=INTEGER,
)


@dataclass(frozen=True, slots=True)
class KnownWords:
    """Words by what they are: of each kind `MOST_WORDS` at most, sorted."""

    names: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()


async def read_known_words(db: Statements) -> KnownWords:
    """What workers' code, their processes, schedules and the rollup of a day name."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for kind, word in await db.execute_once(_KNOWN_WORDS(most=MOST_WORDS)):
        found[kind].add(word)
    kinds = ("name", "queue", "error", "schedule", "worker")
    return KnownWords(*(tuple(sorted(found[kind])[:MOST_WORDS]) for kind in kinds))
