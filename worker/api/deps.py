"""FastAPI dependencies."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from worker.db.database import Database
from worker.errors import SettingsError
from worker.execution.client import TaskClient


def get_database(connection: HTTPConnection) -> Database:
    """The app's `Database`: what its lifespan has put into ``app.state.db``."""
    db = getattr(connection.app.state, "db", None)
    if not isinstance(db, Database):
        raise SettingsError(
            "app.state.db is not a worker.Database: set it in the app's lifespan "
            "(async with Database.from_settings() as app.state.db: yield)"
        )
    return db


async def get_session(
    db: Annotated[Database, Depends(get_database)],
) -> AsyncGenerator[AsyncSession, None]:
    """A session whose commit is done before the response is sent."""
    async with db.get_session() as session:
        yield session


def get_client(connection: HTTPConnection) -> TaskClient:
    """The app's open `TaskClient`: ``app.state.client``."""
    client: TaskClient = connection.app.state.client
    return client


SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
"""A session per request: committed before the response, rolled back on any exception.

``scope="function"`` is what makes it so: by default FastAPI runs the code after ``yield`` when the
response has been sent, and a failed commit would show as a 200.
"""

ClientDep = Annotated[TaskClient, Depends(get_client)]
DatabaseDep = Annotated[Database, Depends(get_database)]
