"""Where this process's tasks go: which client a session belongs to.

Which database a row belongs to is the session's own. Its queue, its schema and who pushes it are
those of the `TaskClient` that is open for that database: found by the session's engine, never by
what was opened last.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from sqlalchemy import Engine

from uow.broker.scripts import Job
from uow.errors import AmbiguousClient, ClientClosed
from uow.events.spine import Spine
from uow.settings.environment import Settings, load_settings
from uow.tasks.handle import Reader, SyncReader
from uow.urls.engine import PORT


@dataclass(frozen=True, slots=True, eq=False)
class Outlet:
    """The part of a client that enqueueing needs.

    Attributes:
        announce: Takes the jobs whose rows are committed; None: the relay finds them.
        reader: What handles ask; None: nobody.
        sync_reader: What those without asyncio ask.
        engine: The client's; None: there is no client.
        events: Whom to tell what was enqueued; None: nobody.
        schema_is_given: Whether somebody has named the schema; else it is the default.
        stands_alone: While it is open, no other client's is meant for its engine.
    """

    schema: str
    queue: str
    max_payload_bytes: int
    announce: Callable[[list[Job]], None] | None = None
    reader: Reader | None = None
    sync_reader: SyncReader | None = None
    engine: Engine | None = None
    events: Spine | None = None
    schema_is_given: bool = True
    stands_alone: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> "Outlet":
        """An outlet without a client."""
        return cls(
            settings.database_schema,
            settings.queue,
            settings.max_payload_bytes,
            schema_is_given=settings.given_schema is not None,
        )

    @property
    def destination(self) -> tuple[str, str, int]:
        """What two clients must have in common to be interchangeable for a row."""
        return self.schema, self.queue, self.max_payload_bytes


_open: list[Outlet] = []


def open_outlet(outlet: Outlet) -> None:
    """What an open `TaskClient` and a worker do."""
    _open.append(outlet)


def close_outlet(outlet: Outlet) -> None:
    """Undo `open_outlet`."""
    _open.remove(outlet)


def outlet_of(engine: Engine) -> Outlet:
    """The outlet for a row that is written through `engine`.

    If no open client leads to that database, the row goes to the queue of the settings (those of
    the environment, or else those that the open clients were given) and is not announced: the
    relay of its own database finds it.

    Raises:
        AmbiguousClient: Several open clients could be meant, and they differ.
    """
    if found := _leading_to(engine):
        return _only(found, engine)
    return _outlet_without_client(engine)


def outlet_of_cursor() -> Outlet:
    """The outlet for a row that is written through a cursor, which does not say where it leads.

    Raises:
        AmbiguousClient: Several open clients could be meant, and they differ.
    """
    return _outlet_without_client(None)


def _outlet_without_client(engine: Engine | None) -> Outlet:
    if not _open:
        return _outlet_of_environment()
    some = _only(_open, engine)
    if _is_configured():
        return _outlet_of_environment()
    return replace(some, announce=None, reader=None, sync_reader=None, engine=None, events=None)


def reader_of(engine: Engine) -> Reader:
    """What the handle of a task asks whose row was written through `engine`.

    Raises:
        ClientClosed: No client is open for that database.
    """
    found = [outlet.reader for outlet in _asked_about(engine) if outlet.reader is not None]
    if not found:
        raise ClientClosed(
            "this needs a client that is open for the task's database: "
            "async with TaskClient.from_settings() as client: …"
        )
    return found[-1]


def sync_reader_of(engine: Engine | None) -> SyncReader:
    """`reader_of` without asyncio.

    Args:
        engine: None: the row was written through a cursor.

    Raises:
        ClientClosed: No `uow.sync.TaskClient` is open for that database.
    """
    outlets = _open if engine is None else _asked_about(engine)
    found = [outlet.sync_reader for outlet in outlets if outlet.sync_reader is not None]
    if not found or (engine is None and len(found) > 1):
        raise ClientClosed(
            "this needs one client that is open for the task's database: "
            "client = uow.sync.TaskClient.from_settings()"
        )
    return found[-1]


def _asked_about(engine: Engine) -> list[Outlet]:
    return _leading_to(engine) or (_open if len(_open) == 1 else [])


def _leading_to(engine: Engine) -> list[Outlet]:
    """The open outlets of this very engine, or else of another one of the same database."""
    there = [(outlet, outlet.engine) for outlet in _open if outlet.engine is not None]
    own = [outlet for outlet, known in there if known.pool is engine.pool]
    if alone := [outlet for outlet in own if outlet.stands_alone]:
        return alone[-1:]
    return own or [outlet for outlet, known in there if _address(known) == _address(engine)]


def _address(engine: Engine) -> tuple[object, ...]:
    url = engine.url
    port = url.port or url.query.get("port") or PORT
    return url.host or url.query.get("host"), str(port), url.database


def _only(outlets: list[Outlet], engine: Engine | None) -> Outlet:
    destinations = {outlet.destination for outlet in outlets}
    if len(destinations) > 1:
        queues = " and ".join(sorted({repr(outlet.queue) for outlet in outlets}))
        raise AmbiguousClient(
            f"{len(outlets)} clients are open, with the queues {queues}, and {_told_by(engine)} "
            "does not tell which one is meant: give its database a client, "
            "TaskClient.from_settings(settings, db=…), or enqueue through the client itself"
        )
    return outlets[-1]


def _told_by(engine: Engine | None) -> str:
    if engine is None:
        return "a cursor"
    return f"the engine of this session ({engine.url.host or ''}/{engine.url.database})"


@cache
def _environment() -> Settings:
    return load_settings()


def _outlet_of_environment() -> Outlet:
    return Outlet.from_settings(_environment())


def _is_configured() -> bool:
    """Whether the environment says what this process's settings are, and not its code."""
    return _environment().database_url is not None
