"""Only type-checked, by several checkers without a plugin: `Settings` as code gives them."""

from pathlib import Path

from pydantic import SecretStr

from uow import Settings

Settings()
Settings(
    database_url="postgresql://user:password@host/name",
    redis_url=SecretStr("redis://host"),
    database_pooler="transaction",
    task_modules=["app.tasks"],
    queues="mail=2,other",
    api_tokens=[SecretStr("long-enough-for-a-token")],
    storage_dir=Path("files"),
    concurrency=5,
    log_level="DEBUG",
)
Settings(concurency=5)  # type: ignore[call-arg]
Settings(concurrency="auto")  # type: ignore[arg-type]
concurrency: int = Settings().concurrency
url: SecretStr | None = Settings().database_url
modules: tuple[str, ...] = Settings().task_modules
