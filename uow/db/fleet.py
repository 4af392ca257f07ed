"""The statements about the fleet of worker processes: who lives, who leads, what they watch."""

FLEET_DUTY = "fleet"
"""The one duty there is a leader for."""

FLEET = {
    # A process lives and runs :running; :leaving: it has been told to stop, so that its end, if
    # it has to be a hard one, is no death. -> returned: it was taken for dead meanwhile (or is new)
    "beat": """
        INSERT INTO {worker_process} (id, app, queue, running, leaving)
        VALUES (:worker, :app, :queue, :running, :leaving)
        ON CONFLICT (id) DO UPDATE
        SET running = excluded.running, leaving = excluded.leaving,
            heartbeat_at = clock_timestamp()
        RETURNING xmax = 0 AS returned
        """,
    #
    # A process that was taken for dead is alive: it did not die under these tasks.
    "acquit": """
        UPDATE {task} SET deaths = deaths - 1
        WHERE id = ANY(:ids) AND {unsettled} AND deaths > 0
        """,
    #
    # A process ends by itself: what it leaves behind is no death, and is taken at once.
    "leave": """
        UPDATE {worker_process}
        SET leaving = true, running = '{{}}', heartbeat_at = '-infinity' WHERE id = :worker
        """,
    #
    # -> id of each process whose heartbeat is older than :seconds, and whether it was leaving.
    # Should there be one, the rest of the transaction reads no table as a whole: what was settled
    # is most of it.
    "find_dead": """
        SELECT id, leaving, {fenced}, set_config('enable_seqscan', 'off', true)
        FROM {worker_process}
        WHERE heartbeat_at < now() - make_interval(secs => :seconds) FOR UPDATE SKIP LOCKED
        """,
    #
    # What :processes ran: a look at the unsettled tasks, and at each of them once. (What a process
    # said last that it ran would be less: it may die of what it has just started.)
    # -> id, worker, alone, attempt
    "find_left_behind": """
        SELECT id, worker, alone, attempt FROM {task} AS task
        WHERE settled_at IS NULL AND dispatch_at <= 'infinity' AND state = 'running'
          AND worker = ANY(:processes)
        FOR UPDATE SKIP LOCKED
        """,
    #
    # A process has died that no suspect can have killed.
    "note_storm": """
        INSERT INTO {worker_leader} (duty, holder, until, storm_at)
        VALUES (:duty, '', '-infinity', now())
        ON CONFLICT (duty) DO UPDATE SET storm_at = excluded.storm_at
        """,
    #
    "forget_dead": "DELETE FROM {worker_process} WHERE id = ANY(:processes)",
    #
    # Dead processes, named by :marks, may have left transactions behind: a statement that goes on,
    # or one that was stopped between two. Sees, and may end, those of the same role.
    "end_sessions": """
        SELECT pg_terminate_backend(pid)
        FROM pg_stat_activity JOIN unnest(:marks) AS dead (mark)
             ON strpos(application_name, mark) > 0
        WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()
        """,
    #
    # Take or keep the lead. -> nothing: somebody else has it
    "lead": """
        INSERT INTO {worker_leader} (duty, holder, until)
        VALUES (:duty, :worker, now() + make_interval(secs => :seconds))
        ON CONFLICT (duty) DO UPDATE SET holder = excluded.holder, until = excluded.until
        WHERE worker_leader.holder = excluded.holder OR worker_leader.until < now()
        RETURNING duty
        """,
    #
    "resign": """
        UPDATE {worker_leader} SET until = '-infinity' WHERE duty = :duty AND holder = :worker
        """,
    #
    # Whether a relay would find something: read before it writes, and all that most of them do.
    # -> 1, or nothing
    "find_due_for_dispatch": """
        SELECT 1 FROM {task} WHERE settled_at IS NULL AND dispatch_at <= now()
        ORDER BY dispatch_at LIMIT 1
        """,
    #
    # Names what the leader has left in Redis.
    "note_pulse": """
        INSERT INTO {worker_leader} (duty, holder, until, pulse)
        VALUES (:duty, '', '-infinity', :pulse)
        ON CONFLICT (duty) DO UPDATE SET pulse = excluded.pulse
        """,
    #
    # -> pulse
    "find_pulse": "SELECT pulse FROM {worker_leader} WHERE duty = :duty",
    #
    # A page of what should be in Redis, in the order of the ids: unsettled, pushed once, and not
    # running in a process that lives. Reads only: a backlog of any size makes no dead tuple. The
    # place is said as a row: with `=` the planner takes the primary key for the order of the ids.
    # -> id, attempt, job_id, name, queue, priority, due_ms, due
    "watched": """
        SELECT attempt, {to_be_pushed}
        FROM {task} AS task
        WHERE settled_at IS NULL AND (dispatch_at, id) > ('infinity', :after)
          AND NOT (state = 'running' AND EXISTS (
              SELECT FROM {worker_process} AS process
              WHERE process.id = task.worker
                AND (task.id = ANY(process.running)
                     -- It may have had no time to say so yet.
                     OR task.started_at > process.heartbeat_at - {beat_margin})))
        ORDER BY dispatch_at, id LIMIT :limit
        """,
    #
    # -> id, attempt of each of :ids that is not settled
    "attempts_of_unsettled": """
        SELECT id, attempt FROM {task} WHERE id = ANY(:ids) AND {unsettled}
        """,
    #
    # Whether a due task is still to be pushed: one that was announced a moment ago.
    "any_announced": """
        SELECT EXISTS (SELECT FROM {task}
                       WHERE settled_at IS NULL AND dispatch_at <= now() + {look_after}
                         AND run_at <= now() AND state <> 'running' AND queue = :queue)
        """,
    #
    # -> name of every queue that has a worker, and whether one of those is not about to leave
    "queues": """
        SELECT served.queue, bool_or(NOT process.leaving) AS live
        FROM {worker_process} AS process,
             unnest(string_to_array(process.queue, ',')) AS served (queue)
        GROUP BY served.queue
        """,
    #
    # -> id (of this set of tables), and the name of its database
    "identity": """
        SELECT id, current_database() AS database FROM {worker_identity}
        ORDER BY created_at, id LIMIT 1
        """,
    #
    "make_identity": """
        INSERT INTO {worker_identity} (id)
        SELECT gen_random_uuid() WHERE NOT EXISTS (SELECT FROM {worker_identity})
        """,
    #
    # What retention has ended for, oldest first, behind the row :after that :expires; not the last
    # task of a schedule, which says how that went. -> id, job_id (the id in Redis), expires
    "expired": """
        SELECT id, coalesce(job_id, CAST(id AS text)) AS job_id,
               CAST(expires_at AS text) AS expires
        FROM {task} AS task
        WHERE settled_at IS NOT NULL AND expires_at < now()
          AND expires_at >= CAST(:expires AS timestamptz)
          AND (expires_at, id) > (CAST(:expires AS timestamptz), :after)
          AND NOT EXISTS (SELECT FROM {schedule} AS schedule WHERE last_task_id = task.id)
        ORDER BY expires_at, id LIMIT :limit
        """,
    #
    # -> how many were removed; not one that somebody has asked to run again
    "prune": """
        DELETE FROM {task}
        WHERE id = ANY(:ids) AND settled_at IS NOT NULL AND expires_at < now()
        RETURNING id
        """,
}
