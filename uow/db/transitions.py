"""Every statement that changes the state of a task: the state machine, in one place.

    scheduled ──▶ queued ──▶ running ──▶ succeeded
        ▲            ▲          ├──────▶ failed ─────┐
        │            ├──────────┤        cancelled ──┤  (cancelled: from any unsettled state)
        │            │          ├──▶ retrying        │
        └── snoozed ─┴──────────┘                    │
                     ▲                               │
                     └──────── somebody asks ────────┘

Guards: success requires "not settled"; every other outcome requires "not settled and still this
attempt". A statement that returns no row has changed nothing: somebody else has decided.
`ALLOWED` says the same as data; a test holds each statement against it, from every state.
"""

from uow.db.models import TaskState

SUSPECT_DEATHS = 2
"""A task under which so many processes died is a suspect and runs alone from then on."""

QUARANTINE_DEATHS = SUSPECT_DEATHS + 3
"""Three more deaths, all while it ran alone, and it is failed. (A plain limit of three would fail
innocent neighbours: each process takes all its running tasks with it.) While processes die that it
cannot have killed, a death proves nothing and is not counted."""

FENCE_SECONDS = 5
"""How long a process that stalls between a lock on rows and its COMMIT holds them: after that
Postgres ends its session, and the COMMIT is refused."""

UP_SINCE = "greatest(pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time())"
"""Since when the server is up: after a crash it goes on in the process that it was started in, but
puts its statistics aside."""

_S = TaskState
_LEFT_BEHIND = frozenset({_S.QUEUED, _S.FAILED})

ALLOWED: dict[str, dict[TaskState, frozenset[TaskState]]] = {
    "start": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.RUNNING})
    ),
    "succeed": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.SUCCEEDED})
    ),
    "start_many": dict.fromkeys((_S.SCHEDULED, _S.QUEUED, _S.RETRYING), frozenset({_S.RUNNING})),
    "succeed_many": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.SUCCEEDED})
    ),
    "fail": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.FAILED, _S.CANCELLED})
    ),
    "retry": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.RETRYING})
    ),
    "hand_back": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.QUEUED, _S.SCHEDULED})
    ),
    "cancel": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.CANCELLED})
    ),
    "claim_due_for_dispatch": {_S.SCHEDULED: frozenset({_S.QUEUED})},
    "rescue": {_S.RUNNING: _LEFT_BEHIND},
    "retry_settled": dict.fromkeys((_S.FAILED, _S.CANCELLED), frozenset({_S.QUEUED})),
    "retry_settled_many": dict.fromkeys((_S.FAILED, _S.CANCELLED), frozenset({_S.QUEUED})),
}
"""From which state a statement leads where; from every other state it leads nowhere."""

FRAGMENTS = {
    # Where a row is found by its id. Said with `settled_at`, it would fit the partial index of
    # unsettled rows, which has the id in it, too: a plan that was made while the table was small
    # would read that whole index for each row from then on.
    "unsettled": "state NOT IN ('succeeded', 'failed', 'cancelled')",
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
    "says_nothing": """
        (:setback IS NULL
         OR ({up_since} < started_at) IS NOT TRUE)""",
    "run_again": """
        UPDATE {task} AS task
        SET state = 'queued', ended = NULL, settled_at = NULL, expires_at = NULL, tries = 0,
            deaths = 0, setback = NULL, setbacks = 0, unknown_since = NULL, worker = NULL,
            progress = NULL, run_at = now(), dispatch_at = now() + {look_after},
            attempt = attempt + least(attempt, 1)
        WHERE state IN ('failed', 'cancelled')""",
    "to_be_pushed": """
        id, name, queue, priority, coalesce(job_id, CAST(id AS text)) AS job_id,
        CAST(extract(epoch FROM run_at) * 1000 AS bigint) AS due_ms, run_at <= now() AS due""",
}
"""Parts of several statements."""

TRANSITIONS = {
    # Begin an attempt; one that runs already is only overtaken on purpose. Nobody waits for the
    # disk: whatever is committed after it is flushed after it, and a start that a crash of Postgres
    # takes back has had no effect that is still there.
    # -> the row, or nothing: settled, not due, running, or not there (see look_up).
    "start": """
        UPDATE {task}
        SET attempt = attempt + 1, state = 'running', started_at = clock_timestamp(),
            worker = :worker, alone = false, waiting_key = NULL
        WHERE id = :id AND {unsettled} AND run_at <= now()
          AND (state <> 'running' OR :take_over)
        RETURNING name, CAST(args AS text) AS args, attempt, tries, user_id, job_id, deaths, tick,
                  {unflushed}
        """,
    #
    # Success, in the attempt's own transaction and in one message with its COMMIT. Guard: not
    # settled.
    "succeed": """
        UPDATE {task}
        SET state = 'succeeded', result = CAST(:result AS json), settled_at = clock_timestamp(),
            expires_at = clock_timestamp() + make_interval(secs => :retention)
        WHERE id = :id AND {unsettled}
        RETURNING id
        """,
    #
    # Begin an attempt of each of :ids, in one statement; none that runs already, and none whose row
    # somebody holds locked: the others do not wait for that. Rows are locked in the order of :ids,
    # here and below: all callers sort, so two batches wait for each other and no more. Each is
    # found by its key, whatever the planner believes of the table: LATERAL, and a LIMIT for which a
    # plan that is kept expects one row.
    # -> id and the row as in start, for each that was started
    "start_many": """
        UPDATE {task} AS task
        SET attempt = attempt + 1, state = 'running', started_at = clock_timestamp(),
            worker = :worker, alone = false, waiting_key = NULL
        FROM (SELECT * FROM unnest(:ids) LIMIT cardinality(:ids)) AS given (id)
             CROSS JOIN LATERAL (
                 SELECT id FROM {task} AS candidate
                 WHERE candidate.id = given.id AND {unsettled} AND run_at <= now()
                   AND state <> 'running'
                 FOR UPDATE SKIP LOCKED) AS due
        WHERE task.id = due.id
        RETURNING task.id, name, CAST(args AS text) AS args, attempt, tries, user_id, job_id,
                  deaths, tick, {unflushed}
        """,
    #
    # Success of each of :ids, whose attempts have nothing else to commit. Guard: not settled.
    # -> id of each whose guard held
    "succeed_many": """
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
    #
    # Failure for good, or cancelled by the function, with its error.
    # Guard: not settled, this attempt.
    "fail": """
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
    #
    # Another attempt later, with the error of this one. Guard: not settled, this attempt.
    "retry": """
        WITH decided AS (
            UPDATE {task}
            SET state = 'retrying', tries = tries + 1, setback = NULL, setbacks = 0,
                unknown_since = NULL, {again_after_delay}
            WHERE id = :id AND {unsettled} AND attempt = :attempt
            RETURNING id, attempt, worker, started_at
        )
        {record_error}
        """,
    #
    # Another attempt later that burns no try: shutdown, snooze, a server away.
    # :setback names what has cut the attempt short, if the task may have brought it about: how
    # often in a row is counted, whatever the names, as one event has several, by its timing. If
    # the server itself went away meanwhile, and without a :setback, the attempt says nothing about
    # the task, and the count stays. A snooze ends it: the function got as far as it wanted.
    # :is_stray says that its function is not here as it is needed: since when is remembered, until
    # it was; its start alone does not tell.
    # Guard: not settled, this attempt. -> setbacks
    "hand_back": """
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
    #
    # Cancel: final at once. A running attempt finds out at its commit. Guard: not settled.
    "cancel": """
        UPDATE {task}
        SET state = 'cancelled', ended = 'cancelled', settled_at = clock_timestamp(),
            expires_at = clock_timestamp() + make_interval(secs => :retention)
        WHERE id = :id AND {unsettled}
        RETURNING id, queue, job_id
        """,
    #
    # The relay's batch: what is to be pushed now, oldest first, each row by one relay only. What
    # it has pushed waits at infinity, where the rescuer watches it; so do running tasks.
    # The caller pushes before it commits, so a crash repeats the batch.
    # -> id, attempt, job_id (the id in Redis), name, queue, priority, due_ms, near (to be pushed
    #    now)
    "claim_due_for_dispatch": """
        UPDATE {task}
        SET state = CASE WHEN state = 'scheduled' AND run_at <= now() THEN 'queued'
                         ELSE state END,
            dispatch_at = CASE {held_back} ELSE 'infinity' END
        WHERE id IN (SELECT id FROM {task}
                     WHERE settled_at IS NULL AND dispatch_at <= now()
                     ORDER BY dispatch_at LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING {to_be_pushed}, attempt,
                  dispatch_at = 'infinity' AND state <> 'running' AS near, {fenced}
        """,
    #
    # Take the tasks :ids of dead processes back. A death is counted unless the process was leaving
    # by itself; against a suspect only if it ran alone, and if no process has died for :calm
    # seconds that it cannot have killed. A suspect under which too many died is failed.
    # -> id, job_id, queue, due_ms, priority, state, deaths
    "rescue": """
        WITH left_behind AS (
            SELECT task.id, task.attempt, task.worker, task.started_at, process.leaving,
                   deaths + CASE WHEN process.leaving THEN 0
                                 WHEN deaths < {suspect} THEN 1
                                 WHEN alone AND NOT EXISTS (
                                     SELECT FROM {worker_leader}
                                     WHERE storm_at > now() - make_interval(secs => :calm))
                                 THEN 1
                                 ELSE 0 END AS deaths
            FROM {task} AS task JOIN {worker_process} AS process ON process.id = task.worker
            WHERE task.id = ANY(:ids) AND state = 'running' AND process.id = ANY(:processes)
            FOR UPDATE OF task SKIP LOCKED
        ), noted AS (
            INSERT INTO {task_error} (task_id, attempt, error_type, message, worker, started_at)
            SELECT id, attempt, 'ProcessDied',
                   CASE WHEN deaths >= {quarantine}
                        THEN 'quarantined: the process died each time this task ran, also alone'
                        ELSE 'the process that ran this attempt is gone' END,
                   worker, started_at
            FROM left_behind WHERE NOT leaving
        )
        UPDATE {task} AS task
        SET state = CASE WHEN l.deaths >= {quarantine} THEN 'failed' ELSE 'queued' END,
            ended = CASE WHEN l.deaths >= {quarantine} THEN 'failed' END,
            settled_at = CASE WHEN l.deaths >= {quarantine} THEN clock_timestamp() END,
            expires_at = CASE WHEN l.deaths >= {quarantine}
                              THEN clock_timestamp() + make_interval(secs => :retention) END,
            deaths = l.deaths, alone = false, worker = NULL, unknown_since = NULL,
            dispatch_at = now()
        FROM left_behind AS l WHERE task.id = l.id
        RETURNING task.id, coalesce(task.job_id, CAST(task.id AS text)) AS job_id, task.queue,
                  CAST(extract(epoch FROM task.run_at) * 1000 AS bigint) AS due_ms, task.priority,
                  task.state, task.deaths
        """,
    #
    # A failed or cancelled task runs again, with all its tries. An attempt of it that has not found
    # out yet that it was cancelled is not this one any more: its failure is not the new run's.
    # Guard: failed or cancelled; uq_task_unique_key and uq_task_waiting_key refuse it if another
    # task has its key. -> what is to be pushed
    "retry_settled": "{run_again} AND id = :id RETURNING {to_be_pushed}",
    #
    # The same for a batch; left alone is a task whose key another has. A key that is taken at this
    # very moment is refused as above. -> what is to be pushed
    "retry_settled_many": """
        {run_again} AND id = ANY(:ids)
            AND NOT EXISTS (SELECT FROM {task} AS holder WHERE holder.settled_at IS NULL
                            AND holder.unique_key = task.unique_key)
            AND NOT EXISTS (SELECT FROM {task} AS holder WHERE holder.settled_at IS NULL
                            AND holder.waiting_key = task.waiting_key)
        RETURNING {to_be_pushed}
        """,
}
