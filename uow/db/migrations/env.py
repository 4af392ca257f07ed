"""Alembic's entry: the connection, its transaction and the schema come from the caller.

Without a connection (`uow.db.migrations.offline`) the statements are written instead of run.
"""

from alembic import context

from uow.db.models import Base

attributes = context.config.attributes
common = {
    "target_metadata": Base.metadata,
    "version_table": attributes["version_table"],
    "version_table_schema": attributes["schema"],
}
if context.is_offline_mode():
    context.configure(
        **common,
        dialect_name="postgresql+asyncpg",
        literal_binds=True,
        output_buffer=attributes["output"],
        transactional_ddl=attributes["in_transaction"],
    )
    with context.begin_transaction():
        for statement in attributes["first"]:
            context.execute(statement)
        context.run_migrations()
else:
    context.configure(**common, connection=attributes["connection"], transactional_ddl=True)
    context.run_migrations()
