"""The application's own tables and settings, in each test."""

from pathlib import Path

import pytest

from uow import Settings
from worker.settings import WorkerAppSettings


@pytest.fixture(scope="session")
def template(application_template: str) -> str:
    return application_template


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> WorkerAppSettings:
    given = settings.model_dump(exclude_unset=True)
    return WorkerAppSettings(**given, storage_dir=tmp_path / "storage")
