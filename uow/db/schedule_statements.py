"""The statements about schedules: what the code says, how far they are, what became of each tick.

A tick is a row whose key is unique, written together with its task and with the schedule's next
tick in one transaction. Time is the database's, whatever the clocks of the workers show.
"""

GONE_SECONDS = 300
"""A schedule, or a version of one, that no live worker has had for so long is gone."""

REFRESH_SECONDS = 30
"""Once in so many seconds somebody writes that a schedule is still in the code."""

FRAGMENTS = {
    "live": "seen_at > now() - {gone}",
    # Of a tick that waits, should the schedule be active. LATERAL with a LIMIT, so that a plan that
    # was made while the tables were small begins with the ticks: most often there is none.
    "its_schedule": """(
            SELECT app, name, definition FROM {schedule} AS one
            WHERE one.app = tick.app AND one.name = tick.name
              AND one.paused_at IS NULL AND one.removed_at IS NULL LIMIT 1) AS schedule""",
    "key_of_schedule": "'schedule:' || schedule.app || ':' || schedule.name",
}

SCHEDULES = {
    # A process serves the queue that its settings name, and says so: the app's schedules go there,
    # if it is the first to say anything, or if no process has said what the others did for so long
    # that they are gone. Whoever comes later redirects nothing.
    "say_queue_of_app": """
        INSERT INTO {worker_app} AS known (app, queue) VALUES (:app, :queue)
        ON CONFLICT (app) DO UPDATE SET queue = excluded.queue, seen_at = now()
        WHERE known.seen_at < now() - CASE WHEN known.queue = excluded.queue THEN {refresh}
                                           ELSE {gone} END
        """,
    #
    # -> queue, if a process has said any
    "find_queue_of_app": "SELECT queue FROM {worker_app} WHERE app = :app",
    #
    # What the code of a process says; :uptime are the seconds since it was started. A version that
    # comes back after it was gone is deployed anew; one whose old processes only woke up is not.
    "register_versions": """
        INSERT INTO {schedule_version} AS known (app, name, version, definition, deployed_at)
        SELECT :app, given.name, given.version, CAST(given.definition AS jsonb),
               now() - make_interval(secs => :uptime)
        FROM unnest(:names, :versions, :definitions) AS given (name, version, definition)
        ORDER BY given.name
        ON CONFLICT (app, name, version) DO UPDATE
        SET seen_at = now(),
            deployed_at = CASE WHEN known.seen_at > now() - {gone} THEN known.deployed_at
                               ELSE greatest(known.deployed_at, excluded.deployed_at) END
        WHERE known.seen_at < now() - {refresh}
        """,
    #
    # The schedules of :app that are new, changed or back: the newest version that is live holds.
    # -> name, version, definition, now
    "find_changed": """
        SELECT newest.name, newest.version, CAST(newest.definition AS text) AS definition,
               now() AS now
        FROM (SELECT DISTINCT ON (name) app, name, version, definition
              FROM {schedule_version}
              WHERE app = :app AND name = ANY(:names) AND {live}
              ORDER BY name, deployed_at DESC, version) AS newest
             LEFT JOIN {schedule} AS schedule USING (app, name)
        WHERE schedule.version IS DISTINCT FROM newest.version OR schedule.removed_at IS NOT NULL
        """,
    #
    # A new schedule begins with :nexts, later than :now, and so does one that was removed: never
    # with the past. One that is changed keeps a tick that is due already.
    "adopt": """
        INSERT INTO {schedule} AS schedule (app, name, version, definition, next_tick, created_at)
        SELECT :app, given.name, given.version, CAST(given.definition AS jsonb), given.next_tick,
               :now
        FROM unnest(:names, :versions, :definitions, :nexts)
             AS given (name, version, definition, next_tick)
        ORDER BY given.name
        ON CONFLICT (app, name) DO UPDATE
        SET version = excluded.version, definition = excluded.definition, seen_at = now(),
            removed_at = NULL,
            next_tick = CASE
                WHEN schedule.removed_at IS NULL AND (
                    schedule.version = excluded.version OR schedule.next_tick <= now())
                THEN schedule.next_tick ELSE excluded.next_tick END
        """,
    #
    "still_in_code": """
        UPDATE {schedule} SET seen_at = now()
        WHERE app = :app AND name = ANY(:names) AND seen_at < now() - {refresh}
        """,
    #
    # Live workers of the app have had their time to register it, and have not. The ticks that wait
    # are run by nobody any more. -> app, name
    "retire": """
        WITH retired AS (
            UPDATE {schedule} AS schedule SET removed_at = now()
            WHERE removed_at IS NULL AND NOT {live}
              AND EXISTS (SELECT FROM {worker_process} AS process
                          WHERE process.app = schedule.app AND NOT process.leaving
                            AND process.heartbeat_at > now() - make_interval(secs => 60)
                            AND process.started_at < now() - {gone})
            RETURNING app, name
        ), missed AS (
            UPDATE {schedule_tick} SET fate = 'missed', until = tick
            WHERE fate = 'waiting' AND (app, name) IN (SELECT app, name FROM retired)
        )
        SELECT app, name FROM retired
        """,
    #
    # The leader's batch: schedules with a tick that is due, each for one leader only. :uptime is
    # for how many seconds it has lived; others that live may have done so for longer.
    # -> app, name, definition, next_tick, now, attended_since (since then there was a worker)
    "find_due": """
        SELECT app, name, CAST(definition AS text) AS definition, next_tick, now() AS now,
               least(now() - make_interval(secs => :uptime),
                     (SELECT min(started_at) FROM {worker_process}
                      WHERE heartbeat_at > now() - interval '2 seconds')) AS attended_since,
               {fenced}
        FROM {schedule}
        WHERE paused_at IS NULL AND removed_at IS NULL AND next_tick <= now() AND {live}
        ORDER BY next_tick LIMIT :limit FOR UPDATE SKIP LOCKED
        """,
    #
    # The ticks that wait until the task before them is settled, the first of each schedule.
    # -> app, name, definition, tick
    "find_waiting": """
        SELECT tick.app, tick.name, CAST(schedule.definition AS text) AS definition, tick.tick,
               {fenced}
        FROM {schedule_tick} AS tick CROSS JOIN LATERAL {its_schedule}
        WHERE tick.fate = 'waiting'
          AND NOT EXISTS (SELECT FROM {schedule_tick} AS earlier
                          WHERE earlier.app = tick.app AND earlier.name = tick.name
                            AND earlier.fate = 'waiting' AND earlier.tick < tick.tick)
          AND NOT EXISTS (SELECT FROM {task} AS task
                          WHERE task.settled_at IS NULL AND task.unique_key = {key_of_schedule})
        ORDER BY tick.tick LIMIT :limit FOR UPDATE OF tick SKIP LOCKED
        """,
    #
    # -> seconds until the next tick of any schedule (NULL: there is none), and whether a tick waits
    "until_next_tick": """
        SELECT (SELECT CAST(extract(epoch FROM next_tick - clock_timestamp()) AS double precision)
                FROM {schedule}
                WHERE paused_at IS NULL AND removed_at IS NULL AND next_tick IS NOT NULL AND {live}
                ORDER BY next_tick LIMIT 1) AS seconds,
               EXISTS (SELECT FROM {schedule_tick} AS tick CROSS JOIN LATERAL {its_schedule}
                       WHERE fate = 'waiting') AS waiting
        """,
    #
    # -> app, name, tick of each that nobody has noted before
    "note_ticks": """
        INSERT INTO {schedule_tick} (app, name, tick, fate, until, task_id)
        SELECT * FROM unnest(:apps, :names, :ticks, :fates, :untils, :ids)
        ON CONFLICT DO NOTHING
        RETURNING app, name, tick
        """,
    #
    # The tasks of ticks. Unannounced: the relay pushes them.
    # -> id of each that was made; none for a tick whose schedule has an unsettled task and minds it
    "insert_ticked": """
        INSERT INTO {task} (id, name, args, state, queue, priority, unique_key, tick, run_at,
                            dispatch_at)
        SELECT id, name, CAST(args AS json),
               CASE WHEN run_at > now() THEN 'scheduled' ELSE 'queued' END,
               queue, priority, unique_key, tick, run_at,
               CASE {held_back} ELSE now() END
        FROM unnest(:ids, :tasks, :arguments, :queues, :priorities, :keys, :ticks, :run_ats)
             AS given (id, name, args, queue, priority, unique_key, tick, run_at)
        ON CONFLICT DO NOTHING
        RETURNING id
        """,
    #
    # What has become of ticks that were noted.
    "decide_ticks": """
        UPDATE {schedule_tick} AS tick
        SET fate = given.fate, task_id = given.id, until = given.until
        FROM unnest(:apps, :names, :ticks, :fates, :untils, :ids)
             AS given (app, name, tick, fate, until, id)
        WHERE tick.app = given.app AND tick.name = given.name AND tick.tick = given.tick
        """,
    #
    "advance": """
        UPDATE {schedule} AS schedule
        SET next_tick = given.next_tick,
            last_tick = coalesce(given.last_tick, schedule.last_tick)
        FROM unnest(:apps, :names, :nexts, :ticks) AS given (app, name, next_tick, last_tick)
        WHERE schedule.app = given.app AND schedule.name = given.name
        """,
    #
    "note_last_tasks": """
        UPDATE {schedule} AS schedule SET last_task_id = given.id
        FROM unnest(:apps, :names, :ids) AS given (app, name, id)
        WHERE schedule.app = given.app AND schedule.name = given.name
        """,
    #
    # -> app, name, definition, next_tick, last_tick, last_task_id, last_outcome (the state
    #    of that task), missed_from, missed_until (of the latest ticks that were missed), waiting
    #    (how many ticks), paused_at, removed_at, now
    "read_schedules": """
        SELECT schedule.app, schedule.name, CAST(definition AS text) AS definition,
               next_tick, last_tick, last_task_id, task.state AS last_outcome,
               missed.tick AS missed_from, missed.until AS missed_until,
               (SELECT count(*) FROM {schedule_tick} AS tick
                WHERE tick.app = schedule.app AND tick.name = schedule.name
                  AND tick.fate = 'waiting') AS waiting,
               paused_at, now() AS now,
               CASE WHEN {live} THEN removed_at ELSE coalesce(removed_at, seen_at + {gone})
               END AS removed_at
        FROM {schedule} AS schedule
             LEFT JOIN {task} AS task ON task.id = schedule.last_task_id
             LEFT JOIN LATERAL (
                 SELECT tick, until FROM {schedule_tick} AS tick
                 WHERE tick.app = schedule.app AND tick.name = schedule.name
                   AND tick.fate = 'missed' ORDER BY tick DESC LIMIT 1) AS missed ON true
        WHERE (CAST(:app AS text) IS NULL OR schedule.app = :app)
          AND (CAST(:name AS text) IS NULL OR schedule.name = :name)
        ORDER BY schedule.app, schedule.name
        """,
    #
    # -> tick, until, fate, task_id, state (of its task), noted_at; the latest first
    "read_ticks": """
        SELECT tick.tick, until, fate, task_id, state, noted_at
        FROM {schedule_tick} AS tick LEFT JOIN {task} AS task ON task.id = task_id
        WHERE tick.app = :app AND tick.name = :name ORDER BY tick.tick DESC LIMIT :limit
        """,
    #
    # -> definition, paused_at, now; locked, so that a leader does not fire meanwhile; none, if it
    #    was removed
    "lock_schedule": """
        SELECT CAST(definition AS text) AS definition, paused_at, now() AS now, {fenced}
        FROM {schedule}
        WHERE app = :app AND name = :name AND removed_at IS NULL AND {live} FOR UPDATE
        """,
    #
    # -> name, if there is such a schedule
    "pause": """
        UPDATE {schedule} SET paused_at = now() WHERE app = :app AND name = :name RETURNING name
        """,
    #
    # What was due while it was paused is not run.
    "resume": """
        UPDATE {schedule} SET paused_at = NULL, next_tick = :next
        WHERE app = :app AND name = :name
        """,
    #
    # -> one row for each tick that was forgotten
    "prune_ticks": """
        DELETE FROM {schedule_tick} AS tick
        WHERE (app, name, tick) IN (
            SELECT app, name, tick FROM {schedule_tick}
            WHERE noted_at < now() - make_interval(secs => :retention) AND fate <> 'waiting'
            LIMIT :limit)
        RETURNING 1
        """,
    #
    # Schedules that were removed so long ago that nobody asks for them any more.
    "forget_removed": """
        WITH forgotten AS (
            DELETE FROM {schedule}
            WHERE removed_at < now() - make_interval(secs => :retention) AND NOT {live}
            RETURNING app, name
        ), ticks AS (
            DELETE FROM {schedule_tick} WHERE (app, name) IN (SELECT app, name FROM forgotten)
        )
        DELETE FROM {schedule_version}
        WHERE NOT {live} AND seen_at < now() - make_interval(secs => :retention)
        """,
}
