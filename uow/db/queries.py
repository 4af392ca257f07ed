"""Every statement, by name, with its contract.

Plain SQL with the schema written in, so that a statement means the same on any session of the
database, the service's own included. The schema is the only thing that is not a bound parameter;
it is quoted here and checked by the settings.

What changes a task's state is in `uow.db.transitions`, what is about the fleet of workers in
`uow.db.fleet`, what is about schedules in `uow.db.schedule_statements`; the rest is here.
"""

import re
from dataclasses import dataclass
from functools import cache

from sqlalchemy import TextClause, bindparam, text

from uow.db import schedule_statements as schedules
from uow.db import transitions
from uow.db.fleet import FLEET
from uow.db.parameters import TYPES
from uow.db.transitions import FENCE_SECONDS, QUARANTINE_DEATHS, SUSPECT_DEATHS, TRANSITIONS

LEAD_SECONDS = 60
"""What is due later than this stays in Postgres: Redis holds the working set, not the calendar."""

LOOK_AFTER_SECONDS = 1
"""The relay looks this long after a push was announced; with its timer that makes 2 s at most."""

BEAT_MARGIN_SECONDS = 5
"""A task that started so shortly before its process's last heartbeat may be missing in it."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements for one schema."""

    schema: str
    ping: TextClause
    been_up: TextClause
    insert: TextClause
    insert_foreign_job: TextClause
    find_holder: TextClause
    find_key_holder: TextClause
    find_retryable: TextClause
    look_up: TextClause
    note_unknown: TextClause
    read_back: TextClause
    is_current: TextClause
    run_alone: TextClause
    report_progress: TextClause
    ending: TextClause
    read: TextClause
    read_errors: TextClause
    # uow.db.transitions
    start: TextClause
    succeed: TextClause
    start_many: TextClause
    succeed_many: TextClause
    fail: TextClause
    retry: TextClause
    hand_back: TextClause
    cancel: TextClause
    claim_due_for_dispatch: TextClause
    rescue: TextClause
    retry_settled: TextClause
    retry_settled_many: TextClause
    # uow.db.fleet
    beat: TextClause
    acquit: TextClause
    leave: TextClause
    find_dead: TextClause
    find_left_behind: TextClause
    note_storm: TextClause
    forget_dead: TextClause
    end_sessions: TextClause
    lead: TextClause
    resign: TextClause
    watched: TextClause
    attempts_of_unsettled: TextClause
    any_announced: TextClause
    find_due_for_dispatch: TextClause
    note_pulse: TextClause
    find_pulse: TextClause
    queues: TextClause
    identity: TextClause
    make_identity: TextClause
    expired: TextClause
    prune: TextClause
    # uow.db.schedule_statements
    say_queue_of_app: TextClause
    find_queue_of_app: TextClause
    register_versions: TextClause
    find_changed: TextClause
    adopt: TextClause
    still_in_code: TextClause
    retire: TextClause
    find_due: TextClause
    find_waiting: TextClause
    until_next_tick: TextClause
    note_ticks: TextClause
    insert_ticked: TextClause
    decide_ticks: TextClause
    advance: TextClause
    note_last_tasks: TextClause
    read_schedules: TextClause
    read_ticks: TextClause
    lock_schedule: TextClause
    pause: TextClause
    resume: TextClause
    prune_ticks: TextClause
    forget_removed: TextClause


@cache
def queries_for(schema: str) -> Queries:
    """The statements, with our tables in `schema`."""
    names = {
        **{table: f"{quoted(schema)}.{table}" for table in _TABLES},
        "lead": f"interval '{LEAD_SECONDS} seconds'",
        "look_after": f"interval '{LOOK_AFTER_SECONDS} seconds'",
        "beat_margin": f"interval '{BEAT_MARGIN_SECONDS} seconds'",
        "fenced": f"set_config('idle_in_transaction_session_timeout', '{FENCE_SECONDS}s', true)",
        "unflushed": "set_config('synchronous_commit', 'off', true)",
        "up_since": transitions.UP_SINCE,
        "gone": f"interval '{schedules.GONE_SECONDS} seconds'",
        "refresh": f"interval '{schedules.REFRESH_SECONDS} seconds'",
        "suspect": SUSPECT_DEATHS,
        "quarantine": QUARANTINE_DEATHS,
    }
    for fragments in (transitions.FRAGMENTS, schedules.FRAGMENTS):
        names |= {name: fragment.format(**names) for name, fragment in fragments.items()}

    def statement(template: str) -> TextClause:
        clause = text(template.format(**names))
        used = set(re.findall(r"(?<!:):(\w+)", template))
        return clause.bindparams(
            *(bindparam(name, type_=TYPES[name]) for name in used & TYPES.keys())
        )

    templates = {**_TEMPLATES, **TRANSITIONS, **FLEET, **schedules.SCHEDULES}
    return Queries(schema, **{name: statement(sql) for name, sql in templates.items()})


def quoted(identifier: str) -> str:
    """A name as it is written into the text of a statement."""
    return '"' + identifier.replace('"', '""').replace(":", "\\:") + '"'


_TABLES = (
    "task", "task_error", "worker_process", "worker_leader", "worker_identity", "worker_app",
    "schedule", "schedule_version", "schedule_tick",
)  # fmt: skip

_TEMPLATES = {
    # -> 1
    "ping": "SELECT 1",
    #
    #
    # Whether the server has been up for so long: not started anew, nor crashed meanwhile.
    # -> up
    "been_up": """
        SELECT {up_since} < clock_timestamp() - make_interval(secs => :seconds) AS up
        """,
    #
    #
    # One row per element of :ids and :arguments, with the same options; on any session.
    # :run_at wins over :delay. :announced says that this process pushes after the commit, so the
    # relay need not look at once (and the trigger does not notify it).
    # -> id, due_ms (run_at, Unix milliseconds), due, near (to be pushed now) of each row made; none
    #    for a row whose key another task holds.
    "insert": """
        INSERT INTO {task} (id, name, args, state, queue, priority, user_id, unique_key,
                            waiting_key, run_at, dispatch_at)
        SELECT given.id, :name, CAST(given.args AS json),
               CASE WHEN due.run_at > now() THEN 'scheduled' ELSE 'queued' END,
               :queue, due.priority, :user_id, :unique_key, :waiting_key, due.run_at,
               CASE {held_back}
                    WHEN CAST(:announced AS boolean) THEN now() + {look_after}
                    ELSE now() END
        FROM unnest(CAST(:ids AS uuid[]), CAST(:arguments AS text[])) AS given (id, args),
             (SELECT coalesce(CAST(:run_at AS timestamptz),
                              now() + make_interval(secs => :delay)) AS run_at,
                     CAST(:priority AS integer) AS priority) AS due
        ON CONFLICT DO NOTHING
        RETURNING id, CAST(extract(epoch FROM run_at) * 1000 AS bigint) AS due_ms,
                  run_at <= now() AS due,
                  run_at <= now() + {lead} AND (priority = 0 OR run_at <= now()) AS near
        """,
    #
    # The row of a stock arq client's job, made when a worker first sees the job.
    "insert_foreign_job": """
        INSERT INTO {task} (id, name, args, queue, job_id, dispatch_at)
        VALUES (:id, :name, CAST(:args AS json), :queue, :job_id, now() + {look_after})
        ON CONFLICT (id) DO NOTHING
        """,
    #
    # -> id of the unsettled task that holds either key
    "find_holder": """
        SELECT id FROM {task}
        WHERE settled_at IS NULL AND (unique_key = :unique_key OR waiting_key = :waiting_key)
        """,
    #
    # -> id of the unsettled task that holds the key of this settled one, and the key
    "find_key_holder": """
        SELECT holder.id, coalesce(holder.unique_key, holder.waiting_key) AS key
        FROM {task} AS task JOIN {task} AS holder
            ON holder.unique_key = task.unique_key OR holder.waiting_key = task.waiting_key
        WHERE task.id = :id AND task.settled_at IS NOT NULL AND holder.settled_at IS NULL
        """,
    #
    # Which failed or cancelled tasks a filter means (NULL: any), the longest settled first. Of
    # several with one unique key it is the youngest, and none if another task has the key. `ended`
    # has an index; what an older version has settled since `worker migrate` does not say it.
    # -> id
    "find_retryable": """
        SELECT id FROM (
            SELECT id, settled_at, row_number() OVER (
                PARTITION BY coalesce('u' || unique_key, 'w' || waiting_key, CAST(id AS text))
                ORDER BY settled_at DESC) AS place
            FROM {task} AS task
            WHERE ended = ANY(:states) AND state = ANY(:states)
              AND (CAST(:name AS text) IS NULL OR name = :name)
              AND (CAST(:queue AS text) IS NULL OR queue = :queue)
              AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
              AND settled_at < coalesce(CAST(:settled_before AS timestamptz), 'infinity')
              AND NOT EXISTS (SELECT FROM {task} AS holder WHERE holder.settled_at IS NULL
                              AND holder.unique_key = task.unique_key)
              AND NOT EXISTS (SELECT FROM {task} AS holder WHERE holder.settled_at IS NULL
                              AND holder.waiting_key = task.waiting_key)
        ) AS meant WHERE place = 1 ORDER BY settled_at LIMIT :limit
        """,
    #
    # Why a start found nothing. -> settled, state, worker, attempt, wait (seconds until it is due),
    # unknown (for so many seconds workers have met it without its function; NULL: none has)
    "look_up": """
        SELECT settled_at IS NOT NULL AS settled, state, worker, attempt,
               CAST(extract(epoch FROM run_at - now()) AS double precision) AS wait,
               CAST(extract(epoch FROM now() - unknown_since) AS double precision) AS unknown
        FROM {task} WHERE id = :id
        """,
    #
    # A worker has met it for the first time without knowing its name.
    "note_unknown": """
        UPDATE {task} SET unknown_since = now()
        WHERE id = :id AND {unsettled} AND unknown_since IS NULL
        """,
    #
    # After a COMMIT whose answer was lost; waits for it, should it still be going on.
    # -> settled, state, attempt
    "read_back": """
        SELECT settled_at IS NOT NULL AS settled, state, attempt
        FROM {task} WHERE id = :id FOR UPDATE
        """,
    #
    # Whether this attempt is still the one; holds the row against a settle until the commit, but
    # not longer than a process that stalls deserves.
    "is_current": """
        SELECT {fenced} FROM {task}
        WHERE id = :id AND {unsettled} AND attempt = :attempt FOR SHARE
        """,
    #
    # From now on nothing else runs in the process of this attempt; its death would count.
    # Guard: not settled, this attempt.
    "run_alone": """
        UPDATE {task} SET alone = true
        WHERE id = :id AND {unsettled} AND attempt = :attempt
        RETURNING id
        """,
    #
    # What an attempt wants people to see while it runs. Guard: not settled, this attempt.
    "report_progress": """
        UPDATE {task} SET progress = CAST(:progress AS json)
        WHERE id = :id AND {unsettled} AND attempt = :attempt
        RETURNING id
        """,
    #
    # How far a task is. -> state, result, and the last error (error_type, message, traceback); of
    # a cancelled task only if its function has cancelled it, for that says why
    "ending": """
        SELECT state, CAST(result AS text) AS result, error_type, message, traceback
        FROM {task} LEFT JOIN LATERAL (
            SELECT error_type, message, traceback FROM {task_error}
            WHERE task_id = :id
              AND (state = 'failed'
                   OR state = 'cancelled' AND error_type = 'Cancel'
                      AND {task_error}.attempt = {task}.attempt)
            ORDER BY {task_error}.id DESC LIMIT 1
        ) AS last ON true
        WHERE {task}.id = :id
        """,
    #
    # -> everything about one task but its errors
    "read": """
        SELECT id, name, state, CAST(args AS text) AS args, CAST(result AS text) AS result,
               CAST(progress AS text) AS progress, queue, priority, user_id,
               coalesce(unique_key, waiting_key) AS unique_key, attempt, tries, worker, run_at,
               created_at, started_at, settled_at
        FROM {task} WHERE id = :id
        """,
    #
    # -> its errors, oldest first
    "read_errors": """
        SELECT attempt, error_type, message, traceback, worker, started_at, failed_at
        FROM {task_error} WHERE task_id = :id ORDER BY id
        """,
}
