"""Every statement there is."""

import importlib
import pkgutil

from sqlalchemy import TextClause

import uow.db
from uow import Database
from uow.db.statement import TEMPLATES

for module in pkgutil.iter_modules(uow.db.__path__, f"{uow.db.__name__}."):
    importlib.import_module(module.name)

NAMES = sorted(TEMPLATES)


def clause(db: Database, name: str) -> TextClause:
    """The text of a statement, with its parameters by name."""
    return TEMPLATES[name].written(db.schema).clause
