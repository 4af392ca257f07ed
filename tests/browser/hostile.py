"""What there may be when somebody means harm: markup wherever text is kept."""

from uuid import UUID

import httpx
from sqlalchemy import text

from uow import Database, TaskClient
from uow.schedules.cron import ScheduleDefinition

HOSTILE = (
    '<script>document.title="run"</script><img src=x onerror="document.title=1"></td></table>'
    "</title><svg onload=alert(1)>\"'` ${alert(2)} {{7*7}} javascript:alert(3)"
)

_TASK = text("""
    UPDATE task SET name = markup, queue = markup, user_id = markup, worker = markup,
        unique_key = markup, job_id = id || markup, args = json_build_object(markup, markup),
        headers = json_build_object('uow-schedule', markup), tick = now(),
        progress = json_build_object(markup, markup), result = to_json(markup),
        setback = markup, attempt = 1, tries = 1, started_at = now(),
        state = :state, settled_at = CASE WHEN :state = 'failed' THEN now() END
    FROM (SELECT CAST(:markup AS text) AS markup) AS said WHERE id = :id
""")

_ERROR = text("""
    INSERT INTO task_error (task_id, attempt, error_type, message, traceback, worker)
    SELECT :id, 1, markup, markup, markup, markup
    FROM (SELECT CAST(:markup AS text) AS markup) AS said
""")

_SCHEDULE = text("""
    INSERT INTO schedule (app, name, version, definition, next_tick)
    SELECT markup, markup, markup, CAST(:definition AS json), now()
    FROM (SELECT CAST(:markup AS text) AS markup) AS said
""")

_PROCESS = text("""
    INSERT INTO worker_process (id, app, queue, running, host, version, slots, busy)
    SELECT markup, markup, markup, ARRAY[CAST(:id AS uuid)], markup, markup, 4, 1
    FROM (SELECT CAST(:markup AS text) AS markup) AS said
""")


async def enqueue_hostile(client: TaskClient, db: Database, state: str = "failed") -> UUID:
    """A task with markup in every field, and an attempt that has failed so."""
    handle = await client.enqueue("parcels.send", order=1)
    values = {"id": handle.id, "markup": HOSTILE}
    await db.execute_once(_TASK, {**values, "state": state})
    await db.execute_once(_ERROR, values)
    return handle.id


async def put_everywhere(site: httpx.AsyncClient, client: TaskClient, db: Database) -> UUID:
    """Tasks, a schedule, a process, a pause and a bulk act with markup; the id of the latter."""
    running = await enqueue_hostile(client, db, "running")
    definition = ScheduleDefinition(
        task="parcels.send", arguments="{}", expression="0 3 * * *", timezone="UTC",
        missed="skip", grace=0.0, jitter=0.0, overlap="allow", queue="arq:queue", priority=0,
    )  # fmt: skip
    await db.execute_once(_SCHEDULE, {"markup": HOSTILE, "definition": definition.to_json()})
    await db.execute_once(_PROCESS, {"markup": HOSTILE, "id": running})
    pausing = {"reason": HOSTILE}
    (await site.post("/api/users/someone/pause", json=pausing)).raise_for_status()
    bulk = {"act": "retry", "filter": {"user": HOSTILE}, "reason": HOSTILE}
    previewed = (await site.post("/api/bulk/preview", json=bulk)).raise_for_status()
    return UUID(previewed.json()["id"])
