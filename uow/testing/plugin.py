"""The pytest plugin: fixtures, and nothing that is imported before one of them is asked for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from uow.settings.environment import Settings
    from uow.testing.embedded import EmbeddedTasks, EmbeddedTasksSync
    from uow.testing.kit import Tasks
    from uow.testing.servers import ThrowawayServers


@pytest.fixture
def tasks_options() -> dict[str, Any]:
    """Arguments of `uow.testing.tasks` beside the session; define a fixture of this name to give
    some: ``settings``, ``app``, ``registry``, ``context``."""
    return {}


@pytest.fixture
def tasks(session: Any, tasks_options: dict[str, Any]) -> "Iterator[Tasks]":
    """The tasks of this test, in the transaction of your fixture ``session``."""
    from uow.testing.kit import Tasks

    with Tasks(session, **tasks_options) as open_tasks:
        yield open_tasks


@pytest.fixture(scope="session")
def embedded_app() -> Any:
    """The `App` whose migrations the embedded database has; None: that which a worker would run in
    this directory. Define a fixture of this name to name another."""
    return None


@pytest.fixture(scope="session")
def embedded_prepare() -> Any:
    """None, or a function of a URL that makes your tables in the embedded database, once. Define a
    fixture of this name if your migrations are not in an `App`."""
    return None


@pytest.fixture(scope="session")
def embedded_servers(embedded_app: Any, embedded_prepare: Any) -> "Iterator[ThrowawayServers]":
    """The throwaway servers of this session."""
    from uow.app import look_for_app
    from uow.testing.servers import ThrowawayServers

    app = embedded_app or look_for_app(None).app
    schema = app.load_settings().given_schema
    servers = ThrowawayServers(app.migrations, embedded_prepare, schema)
    yield servers
    servers.close()


@pytest.fixture
def embedded_database_url(embedded_servers: "ThrowawayServers") -> Iterator[str]:
    """A migrated database of this test's own."""
    url = embedded_servers.new_database()
    yield url
    embedded_servers.drop(url)


@pytest.fixture
def embedded_settings(
    embedded_servers: "ThrowawayServers",
    embedded_database_url: str,
    embedded_app: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> "Iterator[Settings]":
    """Settings that lead to the throwaway servers; the environment says the same, and so does an
    `App` whose settings the code has made: whatever reads them in this test finds these."""
    from uow.app import look_for_app
    from uow.testing.redirecting import redirected

    monkeypatch.setenv("WORKER_DATABASE_URL", embedded_database_url)
    monkeypatch.setenv("WORKER_REDIS_URL", embedded_servers.redis_url)
    app = embedded_app or look_for_app(None).app
    settings = app.load_settings(
        database_url=embedded_database_url, redis_url=embedded_servers.redis_url
    )
    with redirected(app, settings):
        yield settings


@pytest.fixture
def _embedded_options(
    embedded_settings: "Settings", embedded_app: Any, tasks_options: dict[str, Any]
) -> dict[str, Any]:
    return {"app": embedded_app, **tasks_options, "settings": embedded_settings}


@pytest.fixture
def embedded_tasks(
    embedded_servers: "ThrowawayServers", _embedded_options: dict[str, Any]
) -> "Iterator[EmbeddedTasks]":
    """The tasks of this test in its own database, where everything commits; for async tests."""
    from uow.testing.embedded import EmbeddedTasks

    opened = EmbeddedTasks(embedded_servers.portal, **_embedded_options)
    yield opened
    opened.close()


@pytest.fixture
def embedded_tasks_sync(
    embedded_servers: "ThrowawayServers", _embedded_options: dict[str, Any]
) -> "Iterator[EmbeddedTasksSync]":
    """The same for tests that are plain functions, as those with a `TestClient` are."""
    from uow.testing.embedded import EmbeddedTasksSync

    opened = EmbeddedTasksSync(embedded_servers.portal, **_embedded_options)
    yield opened
    opened.close()
