"""Only type-checked, by several checkers without a plugin: settings as code gives them."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from pydantic import SecretStr

from uow import Settings
from uow.settings.environment import load_settings
from uow.settings.types import SettingValues

Settings()
Settings(
    database_url="postgresql://user:password@host/name",
    redis_url=SecretStr("redis://host"),
    database_pooler="transaction",
    task_modules=["app.tasks"],
    queues="mail=2,other",
    api_tokens=[SecretStr("long-enough-for-a-token")],
    concurrency=5,
    log_level="DEBUG",
)
Settings(concurency=5)  # type: ignore[call-arg]
Settings(concurrency="auto")  # type: ignore[arg-type]
concurrency: int = Settings().concurrency
url: SecretStr | None = Settings().database_url
modules: tuple[str, ...] = Settings().task_modules


class MySettingValues(SettingValues, total=False):
    folder: str | Path


class MySettings(Settings):
    """An application's own, beside those of the library."""

    folder: Path = Path("files")

    if TYPE_CHECKING:

        def __init__(self, **values: Unpack[MySettingValues]) -> None: ...


MySettings(concurrency=5, folder="files")
MySettings(foldr="files")  # type: ignore[call-arg]
MySettings(concurrency="auto")  # type: ignore[arg-type]
mine: MySettings = load_settings(MySettings, concurrency=5)
folder: Path = mine.folder
plain: Settings = load_settings(concurrency=5)
