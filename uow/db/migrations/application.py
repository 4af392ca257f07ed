"""An application's own Alembic, run on our connection while nobody else migrates.

Its ``env.py`` finds in ``context.config.attributes`` a ``connection``, in whose transaction
everything is done, and in ``schema`` where our tables are.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from uow.db import rights
from uow.db.database import Database
from uow.db.failures import sqlstate
from uow.db.migrations.steps import LOCK_NOT_AVAILABLE, in_transaction
from uow.errors import SchemaError, WorkerError
from uow.user_code import described

T = TypeVar("T")


class AppMigrations:
    """The migrations of an application.

    Args:
        folder: Their import path, as `uow.App` has it.

    Raises:
        SchemaError: They are not there, or are none.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._config = Config()
        self._config.set_main_option("script_location", str(_place(folder)).replace("%", "%%"))
        self._config.set_main_option("path_separator", "os")
        self.revisions = self._told(lambda: self._walk(ScriptDirectory.from_config(self._config)))

    def has(self, revision: str) -> bool:
        """Whether this revision is one of them."""
        return revision in self.revisions

    async def upgrade(self, db: Database) -> None:
        """Go to the newest ones.

        Raises:
            SchemaError: One has failed; or our role lacks a right, somebody holds a lock all the
                time, or another process migrates.
        """
        await self._run(db, command.upgrade, "heads")

    async def downgrade(self, db: Database, revision: str) -> None:
        """Go back to `revision`, or to ``base``.

        Raises:
            SchemaError: As `upgrade`.
        """
        await self._run(db, command.downgrade, revision)

    async def _run(self, db: Database, do: Callable[[Config, str], None], target: str) -> None:
        def step(connection: Connection) -> bool:
            self._config.attributes.update(connection=connection, schema=db.schema)
            self._told(lambda: do(self._config, target))
            return False

        await in_transaction(db, step, (), of_app=True)

    def _told(self, do: Callable[[], T]) -> T:
        try:
            return do()
        except WorkerError:
            raise
        except DBAPIError as error:
            if sqlstate(error) in (LOCK_NOT_AVAILABLE, rights.REFUSED):
                raise
            raise SchemaError(f"{self._folder}: {described(_cause_of(error), error)}") from error
        except CommandError as error:
            raise SchemaError(f"{self._folder}: {error}") from error
        except Exception as error:
            raise SchemaError(f"{self._folder}: {described(error)}") from error

    @staticmethod
    def _walk(script: ScriptDirectory) -> tuple[str, ...]:
        return tuple(one.revision for one in script.walk_revisions())[::-1]


def _cause_of(error: DBAPIError) -> BaseException:
    """The driver's own error, whose text has no statement in it."""
    return getattr(error.orig, "__cause__", None) or error


def _place(folder: str) -> Path:
    try:
        found = find_spec(folder)
    except ModuleNotFoundError:
        found = None
    if found is None or not found.submodule_search_locations:
        raise SchemaError(f"there is no folder of migrations {folder}")
    return Path(next(iter(found.submodule_search_locations)))
