"""Room for updates, earlier vacuums, and ids that sort by time for rows inserted by hand.

A task is updated twice in its life; with fillfactor 70 a good part of the updates found no room in
their page, and each of those writes into every index. At the defaults of autovacuum a table of ten
million tasks waits for two million dead ones.

Nothing is written anew here: pages are filled this way from now on.

Revision ID: tasks_008
"""

from alembic import context, op

from uow.db.fragments import quoted

revision = "tasks_008"
down_revision = "tasks_007"
branch_labels = None
depends_on = None

# A UUIDv7 as `uow.ids` makes it: a time in 4,096ths of a millisecond (in as many as there are
# microseconds), with the version before its last three digits; the rest is that of a random UUID,
# variant included. In words that every Postgres from 13 on has, and keeps as they are.
ID = r"""
CAST(regexp_replace(
         lpad(to_hex(CAST(date_part('epoch', clock_timestamp()) * 1000000 AS bigint) * 512 / 125),
              15, '0'),
         '(...)$', '7\1')
     || right(CAST(gen_random_uuid() AS text), 17) AS uuid)
"""
VACUUM = {
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
}


def upgrade() -> None:
    schema = quoted(context.config.attributes["schema"])
    op.execute(f"ALTER TABLE {schema}.task ALTER id SET DEFAULT {ID}")
    said = ", ".join(f"{name} = {value}" for name, value in VACUUM.items())
    op.execute(f"ALTER TABLE {schema}.task SET (fillfactor = 50, {said})")


def downgrade() -> None:
    schema = quoted(context.config.attributes["schema"])
    op.execute(f"ALTER TABLE {schema}.task SET (fillfactor = 70)")
    op.execute(f"ALTER TABLE {schema}.task RESET ({', '.join(VACUUM)})")
    op.execute(f"ALTER TABLE {schema}.task ALTER id SET DEFAULT gen_random_uuid()")
