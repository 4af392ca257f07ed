"""Brings the rows that are there into the bounds of tasks_004.

A priority becomes the nearest one, a `run_at` before 1970 the beginning of 1970. What cannot be
meant is settled as failed, with the reason in `task_error`: an unsettled task that is never due, or
whose name or queue is no name. Names of settled tasks are kept as far as they can be: control
characters become question marks, the rest is cut.

Revision ID: tasks_005
"""

from alembic import context, op

from uow.db.fragments import quoted

revision = "tasks_005"
down_revision = "tasks_004"
branch_labels = None
depends_on = None

NO_NAME = r"""({0} = '' OR char_length({0}) > 512 OR ({0} COLLATE "C") ~ '[\x01-\x1f\x7f-\x9f]')"""
NEVER = "run_at >= '9999-12-31 00:00:00+00'"

MEND = r"""
WITH bad AS (
    SELECT id, settled_at IS NULL AND ({never} OR {no_name} OR {no_queue}) AS hopeless
    FROM {schema}.task
    WHERE {never} OR run_at < '1970-01-01 00:00:00+00' OR priority < 0 OR priority > 9
          OR {no_name} OR {no_queue}
    FOR UPDATE
), said AS (
    INSERT INTO {schema}.task_error (task_id, attempt, error_type, message, worker, started_at)
    SELECT id, attempt, 'InvalidTask',
           'it could not be run: its name, its queue or its time is out of bounds', worker,
           started_at
    FROM {schema}.task JOIN bad USING (id) WHERE hopeless
)
UPDATE {schema}.task AS task
SET priority = least(greatest(priority, 0), 9),
    run_at = CASE WHEN {never} THEN now()
                  ELSE greatest(run_at, '1970-01-01 00:00:00+00') END,
    name = {name},
    queue = {queue},
    state = CASE WHEN hopeless THEN 'failed' ELSE state END,
    settled_at = CASE WHEN hopeless THEN now() ELSE settled_at END,
    expires_at = CASE WHEN hopeless THEN now() + interval '7 days' ELSE expires_at END
FROM bad WHERE task.id = bad.id
"""


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.execute(
        MEND.format(
            schema=quoted(schema),
            never=NEVER,
            no_name=NO_NAME.format("name"),
            no_queue=NO_NAME.format("queue"),
            name=_mended("name"),
            queue=_mended("queue"),
        )
    )


def downgrade() -> None:
    """What was out of bounds is not known any more."""


def _mended(column: str) -> str:
    plain = rf"regexp_replace({column}, '[\x01-\x1f\x7f-\x9f]', '?', 'g')"
    return f"coalesce(nullif(left({plain}, 512), ''), '?')"
