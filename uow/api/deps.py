"""FastAPI dependencies.

They read what a lifespan has put into ``app.state``, so they serve any FastAPI app as they serve
ours.
"""

from collections.abc import AsyncGenerator
from typing import Annotated, TypeVar

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from uow.api.streams import Streams
from uow.client import TaskClient
from uow.db.database import Database
from uow.errors import SettingsError
from uow.questions.redaction import Redaction
from uow.settings.environment import Settings
from uow.tasks.registry import Registry, default_registry

T = TypeVar("T")


def get_database(connection: HTTPConnection) -> Database:
    """The app's `Database`: ``app.state.db``.

    Raises:
        SettingsError: There is none.
    """
    return _of_app(connection, "db", Database)


async def get_session(
    db: Annotated[Database, Depends(get_database)],
) -> AsyncGenerator[AsyncSession, None]:
    """A session of the app's `Database`.

    Raises:
        TransactionAborted: At the end, if a swallowed error had aborted the transaction.
    """
    async with db.get_session() as session:
        yield session


def get_client(connection: HTTPConnection) -> TaskClient:
    """The app's open `TaskClient`: ``app.state.client``.

    Raises:
        SettingsError: There is none.
    """
    return _of_app(connection, "client", TaskClient)


def _of_app(connection: HTTPConnection, name: str, kind: type[T]) -> T:
    found = getattr(connection.app.state, name, None)
    if not isinstance(found, kind):
        raise SettingsError(
            f"app.state.{name} is not a uow.{kind.__name__}: set it in the app's lifespan "
            f"(async with {kind.__name__}.from_settings() as app.state.{name}: yield)"
        )
    return found


def get_registry(connection: HTTPConnection) -> Registry:
    """The task functions that the app knows: ``app.state.registry``, or all that are imported."""
    registry: Registry = getattr(connection.app.state, "registry", default_registry)
    return registry


def get_queues(connection: HTTPConnection) -> frozenset[str]:
    """The queues that the app puts tasks into: ``app.state.queues``.

    Where that is not set: the client's own, and those that task functions name.
    """
    queues: frozenset[str] | None = getattr(connection.app.state, "queues", None)
    if queues is not None:
        return queues
    return queues_of(get_registry(connection), get_client(connection).queue)


def queues_of(registry: Registry, *others: str) -> frozenset[str]:
    """Those that a service knows: a caller is not to write into just any key of Redis."""
    named = {function.defaults.queue for function in registry if function.defaults.queue}
    return frozenset({*named, *others})


def get_redaction(connection: HTTPConnection) -> Redaction:
    """What the app shows to nobody: ``app.state.redaction``, or what the client's settings say."""
    found: Redaction | None = getattr(connection.app.state, "redaction", None)
    if found is None:
        settings = get_client(connection).settings
        found = Redaction(settings.redact, get_registry(connection))
        connection.app.state.redaction = found
    return found


def get_settings(connection: HTTPConnection) -> Settings:
    """The app's settings: ``app.state.settings``, or those of its client."""
    found: Settings | None = getattr(connection.app.state, "settings", None)
    return get_client(connection).settings if found is None else found


SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
"""A session per request: committed before the response, rolled back on any exception.

``scope="function"`` is what makes it so: by default FastAPI runs the code after ``yield`` when the
response has been sent, and a failed commit would show as a 200.
"""

DatabaseDep = Annotated[Database, Depends(get_database)]
"""For what needs no session of its own, or several short ones (a stream of events)."""


async def get_streams(
    connection: HTTPConnection,
    db: Annotated[Database, Depends(get_database)],
    client: Annotated[TaskClient, Depends(get_client)],
) -> Streams:
    """The app's streams of events: they share one listener, which `app.state` keeps."""
    found: Streams | None = getattr(connection.app.state, "uow_streams", None)
    if found is None:
        found = connection.app.state.uow_streams = Streams(db, client.redis)
    return found


ClientDep = Annotated[TaskClient, Depends(get_client)]
StreamsDep = Annotated[Streams, Depends(get_streams)]
RegistryDep = Annotated[Registry, Depends(get_registry)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
QueuesDep = Annotated[frozenset[str], Depends(get_queues)]
RedactionDep = Annotated[Redaction, Depends(get_redaction)]
