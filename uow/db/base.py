"""What all our models have in common: one metadata, in a schema that a `Database` translates."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

SCHEMA = "pg_the_schema_of_ours"
"""Stands for the configured schema in our metadata. No schema is called so: `pg_` is reserved for
the server itself. So nobody's model in a schema of its own is taken for one of ours."""


class Base(DeclarativeBase):
    """Base of our models."""

    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        },
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own way to say it
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
    }
