"""Every statement that moves a task, by name, with its contract.

Plain SQL with the schema written in, so that a statement means the same on any session of the
database, the service's own included. The schema is the only thing that is not a bound parameter;
it is quoted here and checked by the settings.

Guards: success requires "not settled"; every other outcome requires "not settled and still this
attempt". A statement that returns no row has changed nothing: somebody else has decided.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.types import Double, Integer, Text, TypeEngine, Uuid

LEAD_SECONDS = 60
"""What is due later than this stays in Postgres: Redis holds the working set, not the calendar."""

LOOK_AFTER_SECONDS = 1
"""The relay looks this long after a push was announced; with its timer that makes 2 s at most."""

LOOK_AGAIN_SECONDS = 30
"""And then again, at intervals that grow with the task's age, so that a backlog stays cheap."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements for one schema."""

    schema: str
    ping: TextClause
    insert: TextClause
    insert_foreign_job: TextClause
    find_unsettled_key: TextClause
    start: TextClause
    look_up: TextClause
    succeed: TextClause
    fail: TextClause
    retry: TextClause
    hand_back: TextClause
    cancel: TextClause
    is_current: TextClause
    report_progress: TextClause
    claim_due_for_dispatch: TextClause
    ending: TextClause
    read: TextClause
    read_errors: TextClause


@cache
def queries_for(schema: str) -> Queries:
    """The statements, with our tables in `schema`."""
    names = {
        "task": f"{_quote(schema)}.task",
        "task_error": f"{_quote(schema)}.task_error",
        "lead": f"interval '{LEAD_SECONDS} seconds'",
        "look_after": f"interval '{LOOK_AFTER_SECONDS} seconds'",
        "look_again": f"interval '{LOOK_AGAIN_SECONDS} seconds'",
    }

    def statement(template: str) -> TextClause:
        clause = text(template.format(**names))
        used = set(re.findall(r"(?<!:):(\w+)", template))
        return clause.bindparams(
            *(bindparam(name, type_=_TYPES[name]) for name in used & _TYPES.keys())
        )

    return Queries(
        schema=schema,
        **{name: statement(template) for name, template in _TEMPLATES.items()},
    )


def _quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""').replace(":", "\\:") + '"'


_TYPES: dict[str, TypeEngine[Any]] = {
    "ids": ARRAY(Uuid()),
    "arguments": ARRAY(Text()),
    "id": Uuid(),
    "attempt": Integer(),
    "delay": Double(),
    "limit": Integer(),
    "priority": Integer(),
    "run_at": TIMESTAMP(timezone=True),
}

_TEMPLATES = {
    # -> 1
    "ping": "SELECT 1",
    #
    # One row per element of :ids and :arguments, with the same options; on any session.
    # :run_at wins over :delay. :announced says that this process pushes after the commit, so the
    # relay need not look at once (and the trigger does not notify it).
    # -> id, due_ms (run_at, Unix milliseconds), near (to be pushed now) of each row made; none
    #    for a row whose unique key an unsettled task holds.
    "insert": """
        INSERT INTO {task} (id, name, args, state, queue, priority, user_id, unique_key,
                            run_at, dispatch_at)
        SELECT given.id, :name, CAST(given.args AS jsonb),
               CASE WHEN due.run_at > now() THEN 'scheduled' ELSE 'queued' END,
               :queue, due.priority, :user_id, :unique_key, due.run_at,
               CASE WHEN due.run_at > now() + {lead} THEN due.run_at - {lead}
                    WHEN due.run_at > now() AND due.priority > 0 THEN due.run_at
                    WHEN CAST(:announced AS boolean) THEN now() + {look_after}
                    ELSE now() END
        FROM unnest(CAST(:ids AS uuid[]), CAST(:arguments AS text[])) AS given (id, args),
             (SELECT coalesce(CAST(:run_at AS timestamptz),
                              now() + make_interval(secs => :delay)) AS run_at,
                     CAST(:priority AS integer) AS priority) AS due
        ON CONFLICT (unique_key) WHERE settled_at IS NULL AND unique_key IS NOT NULL DO NOTHING
        RETURNING id, CAST(extract(epoch FROM run_at) * 1000 AS bigint) AS due_ms,
                  run_at <= now() + {lead} AND (priority = 0 OR run_at <= now()) AS near
        """,
    #
    # The row of a stock arq client's job, made when a worker first sees the job.
    "insert_foreign_job": """
        INSERT INTO {task} (id, name, args, queue, job_id, dispatch_at)
        VALUES (:id, :name, CAST(:args AS jsonb), :queue, :job_id, now() + {look_after})
        ON CONFLICT (id) DO NOTHING
        """,
    #
    # -> id of the unsettled task that holds the key
    "find_unsettled_key": """
        SELECT id FROM {task} WHERE unique_key = :unique_key AND settled_at IS NULL
        """,
    #
    # Begin an attempt. -> the row, or nothing: settled, not due, or not there (see look_up).
    "start": """
        UPDATE {task}
        SET attempt = attempt + 1, state = 'running', started_at = clock_timestamp(),
            worker = :worker
        WHERE id = :id AND settled_at IS NULL AND run_at <= now()
        RETURNING name, CAST(args AS text) AS args, attempt, tries, user_id, job_id
        """,
    #
    # Why a start found nothing. -> settled, attempt, wait (seconds until it is due)
    "look_up": """
        SELECT settled_at IS NOT NULL AS settled, attempt,
               CAST(extract(epoch FROM run_at - now()) AS double precision) AS wait
        FROM {task} WHERE id = :id
        """,
    #
    # Success, in the attempt's own transaction. Guard: not settled.
    "succeed": """
        UPDATE {task}
        SET state = 'succeeded', result = CAST(:result AS jsonb), settled_at = clock_timestamp()
        WHERE id = :id AND settled_at IS NULL
        RETURNING id
        """,
    #
    # Failure for good, with its error. Guard: not settled, this attempt.
    "fail": """
        WITH settled AS (
            UPDATE {task}
            SET state = :state, tries = tries + :counted, settled_at = clock_timestamp()
            WHERE id = :id AND settled_at IS NULL AND attempt = :attempt
            RETURNING id, attempt, worker, started_at
        )
        INSERT INTO {task_error} (task_id, attempt, error_type, message, traceback, worker,
                                  started_at)
        SELECT id, attempt, :error_type, :message, :traceback, worker, started_at FROM settled
        RETURNING task_id
        """,
    #
    # Another attempt later, with the error of this one. Guard: not settled, this attempt.
    "retry": """
        WITH retrying AS (
            UPDATE {task}
            SET state = 'retrying', tries = tries + 1,
                run_at = clock_timestamp() + make_interval(secs => :delay),
                dispatch_at = greatest(
                    clock_timestamp() + make_interval(secs => :delay) - {lead},
                    clock_timestamp() + {look_after})
            WHERE id = :id AND settled_at IS NULL AND attempt = :attempt
            RETURNING id, attempt, worker, started_at
        )
        INSERT INTO {task_error} (task_id, attempt, error_type, message, traceback, worker,
                                  started_at)
        SELECT id, attempt, :error_type, :message, :traceback, worker, started_at FROM retrying
        RETURNING task_id
        """,
    #
    # Another attempt later that burns no try: shutdown, snooze, a server away.
    # Guard: not settled, this attempt.
    "hand_back": """
        UPDATE {task}
        SET state = :state, worker = NULL,
            run_at = clock_timestamp() + make_interval(secs => :delay),
            dispatch_at = greatest(
                clock_timestamp() + make_interval(secs => :delay) - {lead},
                clock_timestamp() + {look_after})
        WHERE id = :id AND settled_at IS NULL AND attempt = :attempt
        RETURNING id
        """,
    #
    # Cancel: final at once. A running attempt finds out at its commit. Guard: not settled.
    "cancel": """
        UPDATE {task} SET state = 'cancelled', settled_at = clock_timestamp()
        WHERE id = :id AND settled_at IS NULL
        RETURNING id, queue, job_id
        """,
    #
    # Whether this attempt is still the one; holds the row against a settle until the commit.
    "is_current": """
        SELECT 1 FROM {task}
        WHERE id = :id AND settled_at IS NULL AND attempt = :attempt FOR SHARE
        """,
    #
    # What an attempt wants people to see while it runs. Guard: not settled, this attempt.
    "report_progress": """
        UPDATE {task} SET progress = CAST(:progress AS jsonb)
        WHERE id = :id AND settled_at IS NULL AND attempt = :attempt
        RETURNING id
        """,
    #
    # The relay's batch: what is to be looked at now, oldest first, each row by one relay only.
    # Moves the next look; the caller pushes before it commits, so a crash repeats the batch.
    # -> id, job_id (the id in Redis), name, queue, priority, due_ms, near
    "claim_due_for_dispatch": """
        UPDATE {task}
        SET state = CASE WHEN state = 'scheduled' AND run_at <= now() THEN 'queued'
                         ELSE state END,
            dispatch_at = CASE
                WHEN run_at > now() + {lead} THEN run_at - {lead}
                WHEN run_at > now() AND priority > 0 THEN run_at
                ELSE greatest(run_at, now()) + greatest({look_again}, (now() - created_at) / 2)
                END
        WHERE id IN (SELECT id FROM {task}
                     WHERE settled_at IS NULL AND dispatch_at <= now()
                     ORDER BY dispatch_at LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING id, coalesce(job_id, CAST(id AS text)) AS job_id, name, queue, priority,
                  CAST(extract(epoch FROM run_at) * 1000 AS bigint) AS due_ms,
                  run_at <= now() + {lead} AND (priority = 0 OR run_at <= now()) AS near
        """,
    #
    # How far a task is. -> state, result, and the last error (error_type, message, traceback)
    "ending": """
        SELECT state, CAST(result AS text) AS result, error_type, message, traceback
        FROM {task} LEFT JOIN LATERAL (
            SELECT error_type, message, traceback FROM {task_error}
            WHERE task_id = :id AND state = 'failed' ORDER BY {task_error}.id DESC LIMIT 1
        ) AS last ON true
        WHERE {task}.id = :id
        """,
    #
    # -> everything about one task but its errors
    "read": """
        SELECT id, name, state, CAST(args AS text) AS args, CAST(result AS text) AS result,
               CAST(progress AS text) AS progress, queue, priority, user_id, unique_key, attempt,
               tries, worker, run_at, created_at, started_at, settled_at
        FROM {task} WHERE id = :id
        """,
    #
    # -> its errors, oldest first
    "read_errors": """
        SELECT attempt, error_type, message, traceback, worker, started_at, failed_at
        FROM {task_error} WHERE task_id = :id ORDER BY id
        """,
}
