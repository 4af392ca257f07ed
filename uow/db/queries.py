"""The statements as texts, for callers that do not use their functions yet."""

from sqlalchemy import TextClause

from uow.db import attempts, enqueueing, outcomes, reading, rescue, server  # noqa: F401 - define them
from uow.db.fragments import LEAD_SECONDS as LEAD_SECONDS
from uow.db.statement import TEMPLATES


class Queries:
    """The statements in one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def __getattr__(self, name: str) -> TextClause:
        return TEMPLATES[name].written(self._schema).clause
