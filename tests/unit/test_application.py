"""`uow.App`: what it can be told to do, and the settings that it does it with."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from uow import App, Settings, SettingsError, TaskClient
from uow.settings.environment import GivenSettings


class Mine(Settings):
    """An application's own."""

    currency: str = "EUR"


def test_a_class_of_settings_is_read_when_something_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(settings=Mine)
    monkeypatch.setenv("WORKER_CURRENCY", "CHF")
    settings = app.load_settings(concurrency=3)
    assert isinstance(settings, Mine)
    assert (settings.currency, settings.concurrency) == ("CHF", 3)


def test_settings_that_were_made_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mine(currency="CHF")
    app = App(settings=made)
    monkeypatch.setenv("WORKER_CURRENCY", "USD")
    assert app.load_settings() is made


def test_options_of_a_command_win_over_settings_that_were_made() -> None:
    app = App(settings=GivenSettings(concurrency=3, queue="mine", database_schema="tasks"))
    settings = app.load_settings(concurrency=5)
    assert type(settings) is GivenSettings
    assert (settings.concurrency, settings.queue, settings.given_schema) == (5, "mine", "tasks")
    assert (
        App(settings=GivenSettings(queue="mine")).load_settings(queues=("a",)).given_schema is None
    )
    with pytest.raises(SettingsError, match="WORKER_CONCURRENCY"):
        app.load_settings(concurrency=0)


def test_a_malformed_setting_is_told_as_ours_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_CONCURRENCY", "many")
    with pytest.raises(SettingsError, match="WORKER_CONCURRENCY: "):
        App().client()


async def test_its_client_has_its_settings() -> None:
    url = "postgresql+asyncpg://nobody@localhost:1/nothing"
    client = App(settings=GivenSettings(database_url=url, queue="mine")).client()
    assert isinstance(client, TaskClient)
    assert client.redis.default_queue_name == "mine"
    await client._owned.aclose()


def test_fastapi_is_imported_for_the_api_alone() -> None:
    code = """
import sys
from uow import App
from uow.settings.environment import GivenSettings
url = "postgresql+asyncpg://nobody@localhost:1/nothing"
app = App(settings=GivenSettings(database_url=url), modules=["tests.acceptance.tasks"])
app.client()
assert not {"fastapi", "uvicorn", "alembic"} & {*sys.modules}
api = app.api()
assert "fastapi" in sys.modules and "uvicorn" not in sys.modules
print([route.path for route in api.routes if "ready" in getattr(route, "path", "")], type(api))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=40
    )
    assert "FastAPI" in done.stdout, done.stderr


@pytest.mark.parametrize("form", ["json", "text"])
def test_its_run_writes_the_log_as_its_settings_say(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []

    def run_tasks(*_: object, configure_log: Callable[[], None], **__: object) -> None:
        configure_log()

    monkeypatch.setattr("uow.run.run_tasks", run_tasks)
    monkeypatch.setattr("uow.telemetry.logs.configure", lambda *said: told.append(said))
    monkeypatch.setenv("WORKER_LOG_FORMAT", form)
    App(settings=Mine).run()
    assert told == [("INFO", form)]
