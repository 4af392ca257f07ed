"""Alembic's entry: the connection, its transaction and the schema come from the caller."""

from alembic import context

from uow.db.models import Base

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=Base.metadata,
    version_table=attributes["version_table"],
    version_table_schema=attributes["schema"],
    transactional_ddl=True,
)
context.run_migrations()
