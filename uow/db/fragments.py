"""What several statements have in common: names of our tables, spans of time, parts of a text."""

from collections.abc import Mapping
from functools import cache

LEAD_SECONDS = 60
"""What is due later than this stays in Postgres: Redis holds the working set, not the calendar."""

LOOK_AFTER_SECONDS = 1
"""The relay looks this long after a push was announced; with its timer that makes 2 s at most."""

BEAT_MARGIN_SECONDS = 5
"""A task that started so shortly before its process's last heartbeat may be missing in it."""

FENCE_SECONDS = 5
"""How long a process that stalls between a lock on rows and its COMMIT holds them: after that
Postgres ends its session, and the COMMIT is refused."""

SUSPECT_DEATHS = 2
"""A task under which so many processes died is a suspect and runs alone from then on."""

QUARANTINE_DEATHS = SUSPECT_DEATHS + 3
"""Three more deaths, all while it ran alone, and it is failed. (A plain limit of three would fail
innocent neighbours: each process takes all its running tasks with it.) While processes die that it
cannot have killed, a death proves nothing and is not counted."""

GONE_SECONDS = 300
"""A schedule, or a version of one, that no live worker has had for so long is gone."""

REFRESH_SECONDS = 30
"""Once in so many seconds somebody writes that a schedule is still in the code."""

_TABLES = (
    "task", "task_error", "worker_process", "worker_leader", "worker_identity", "worker_app",
    "worker_code",
    "schedule", "schedule_version", "schedule_tick", "audit", "audit_arguments", "bulk_act",
    "act_answer", "pause",
    "rollup_inbox", "rollup_source", "rollup", "rollup_hour", "rollup_error",
    "rollup_error_day",
)  # fmt: skip

FIRST_PAUSED = "'9000-01-01Z'"
"""A row that a pause holds back is dispatched at this moment and so many seconds as the pause's
number says: no relay comes to it, the rescuer, who watches what is at infinity, passes it over, and
all that one pause holds back lies together in the index."""

OF_ACTS = "act:"
"""With it begins, instead of a process, what an act has counted, in its own transaction. It comes
once, so nobody has to know later that it was added up."""

UNSETTLED = "state NOT IN ('succeeded', 'failed', 'cancelled')"
"""Where a row is found by its id. Said with `settled_at`, it would fit the partial index of
unsettled rows, which has the id in it, too: a plan that was made while the table was small would
read that whole index for each row from then on."""

_FRAGMENTS = {
    "lead": f"interval '{LEAD_SECONDS} seconds'",
    "look_after": f"interval '{LOOK_AFTER_SECONDS} seconds'",
    "beat_margin": f"interval '{BEAT_MARGIN_SECONDS} seconds'",
    "gone": f"interval '{GONE_SECONDS} seconds'",
    "refresh": f"interval '{REFRESH_SECONDS} seconds'",
    "suspect": str(SUSPECT_DEATHS),
    "quarantine": str(QUARANTINE_DEATHS),
    "fenced": f"set_config('idle_in_transaction_session_timeout', '{FENCE_SECONDS}s', true)",
    "unflushed": "set_config('synchronous_commit', 'off', true)",
    # Since when the server is up: after a crash it goes on in the process that it was started in,
    # but puts its statistics aside.
    "up_since": "greatest(pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time())",
    "unsettled": UNSETTLED,
    "of_acts": f"'{OF_ACTS}'",
    # What is due much later stays in Postgres; so does a priority that is not due, which in Redis
    # would be run at once. When the relay looks at it then, as the first arms of a CASE.
    "held_back": """
        WHEN run_at > now() + {lead} THEN run_at - {lead}
        WHEN run_at > now() AND priority > 0 THEN run_at""",
    "record_error": """
        INSERT INTO {task_error} (task_id, attempt, error_type, message, traceback, worker,
                                  started_at)
        SELECT id, attempt, :error_type, :message, :traceback, worker, started_at FROM decided
        RETURNING task_id""",
    "again_after_delay": """
        run_at = clock_timestamp() + make_interval(secs => :delay),
        dispatch_at = greatest(
            clock_timestamp() + make_interval(secs => :delay) - {lead},
            clock_timestamp() + {look_after})""",
    "waited": "date_part('epoch', clock_timestamp() - run_at) AS waited",
    "says_nothing": """
        (:setback IS NULL
         OR ({up_since} < started_at) IS NOT TRUE)""",
    "is_paused": "resumed_at IS NULL AND (until IS NULL OR until > now())",
    "when_resumed": f"CAST({FIRST_PAUSED} AS timestamptz) + make_interval(secs => number)",
    "run_again": """
        UPDATE {task} AS task
        SET state = 'queued', ended = NULL, settled_at = NULL, expires_at = NULL, tries = 0,
            deaths = 0, setback = NULL, setbacks = 0, unknown_since = NULL, worker = NULL,
            progress = NULL, run_at = now(), dispatch_at = now() + {look_after},
            attempt = attempt + least(attempt, 1)
        WHERE state IN ('failed', 'cancelled')""",
    "to_be_pushed": """
        id, name, queue, priority, coalesce(job_id, CAST(id AS text)) AS job_id,
        CAST(extract(epoch FROM run_at) * 1000 AS bigint) AS due_ms, run_at <= now() AS due,
        attempt""",
    "live": "seen_at > now() - {gone}",
    # Of a tick that waits, should the schedule be active. LATERAL with a LIMIT, so that a plan that
    # was made while the tables were small begins with the ticks: most often there is none.
    "its_schedule": """(
            SELECT app, name, definition FROM {schedule} AS one
            WHERE one.app = tick.app AND one.name = tick.name
              AND one.paused_at IS NULL AND one.removed_at IS NULL LIMIT 1) AS schedule""",
    "key_of_schedule": "'schedule:' || schedule.app || ':' || schedule.name",
}
"""Each may use those before it."""


@cache
def fragments_in(schema: str) -> Mapping[str, str]:
    """The fragments by name, with our tables in `schema`."""
    names = {table: f"{quoted(schema)}.{table}" for table in _TABLES}
    for name, fragment in _FRAGMENTS.items():
        names[name] = fragment.format(**names)
    return names


def quoted(identifier: str) -> str:
    """A name as it is written into the text of a statement."""
    return '"' + identifier.replace('"', '""').replace(":", "\\:") + '"'
