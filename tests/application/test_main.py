"""What the application brings, and what is said where it is not there."""

import subprocess
import sys
from typing import Any

import pytest
from arq.worker import get_kwargs

import worker.main
from tests.processes import ROOT
from uow import App, Settings, SettingsError
from uow.api.app import create_app
from uow.tasks.registry import default_registry
from worker.settings import WorkerAppSettings, settings_of


def test_arqs_own_command_finds_a_settings_class(
    settings: WorkerAppSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.database_url is not None
    monkeypatch.setenv("WORKER_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("WORKER_PRUNE_SCHEDULE", "@daily")
    options: dict[str, Any] = get_kwargs(worker.main.WorkerSettings)
    assert {*default_registry.names} <= {function.name for function in options["functions"]}
    assert isinstance(options["ctx"]["settings"], WorkerAppSettings)
    process = options["on_startup"].__self__
    assert "maintenance.prune_tasks" in [one.name for one in process.schedules]
    with pytest.raises(AttributeError):
        worker.main.Nothing  # noqa: B018


def test_a_worker_imports_neither_the_api_nor_the_migrations() -> None:
    code = "import sys, uow.run, uow.main, uow.fast.task_worker, worker.main, worker.tasks\n"
    code += "print({'fastapi', 'starlette', 'alembic'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == "set()\n", done.stderr


def test_a_task_that_was_loaded_without_the_application_says_so(
    settings: WorkerAppSettings,
) -> None:
    ctx: Any = {"settings": Settings()}
    with pytest.raises(SettingsError, match="start it with `worker run worker.main:app`"):
        settings_of(ctx)
    ctx["settings"] = settings
    assert settings_of(ctx) is settings


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("worker.main:app", "worker.main:app is no router of FastAPI's"),
        ("worker.api.users:rooter", "worker.api.users:rooter is no router of FastAPI's"),
        ("worker.api.orders:router", "cannot import worker.api.orders: there is no worker.api.ord"),
    ],
)
def test_a_router_that_is_none_is_told(settings: WorkerAppSettings, named: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        create_app(settings, application=App(modules=["worker.tasks"], routers=[named]))
