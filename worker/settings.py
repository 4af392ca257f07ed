"""The process's settings: environment variables with the prefix ``WORKER_``, read once.

Only the composition roots (`worker.main`, `worker.api.app`, the commands) and `TaskClient` build
a `Settings`; everything else gets the part it needs. A name with the prefix that is not a setting
is refused with the nearest right one, because pydantic-settings alone would ignore the typo.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from worker.errors import SettingsError
from worker.log_level import LogLevel
from worker.queues import fault_in_name, weights_of
from worker.setting_names import PREFIX, fault_in
from worker.setting_parts import (
    LEASE_SECONDS,
    STALL_LIMIT,
    DatabaseSettings,
    MailSettings,
    Pooler,
)

SPARE_CONNECTIONS = 4
"""Connections beside one per running task: the relay, the starts of other tasks, a health check."""

RETENTION_SECONDS = 7 * 86_400.0
"""How long a settled task is kept."""

SHORTEST_TOKEN = 16
"""Characters: less can be guessed by trying."""


class Settings(BaseSettings):
    """Every setting, its default and its unit. Frozen; secrets do not show in its repr."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: SecretStr | None = Field(
        None, description="Postgres, as `postgresql+asyncpg://user:password@host:5432/name`."
    )
    database_schema: str = Field(
        "public", description="Schema of our tables; one of their own lets them live beside yours."
    )
    database_pooler: bool | Pooler = Field(
        False,
        description="What a pooling proxy (PgBouncer) that the URL leads to pools: `transaction` "
        "(or `true`) or `session`.",
    )
    pool_size: int | None = Field(
        None, ge=1, description="Connections to Postgres per process; default: concurrency + 4."
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="Redis or Valkey: `redis://`, `rediss://` or `unix:///path?db=0`.",
    )
    connect_timeout: float = Field(
        10.0, gt=0, description="Seconds to wait for Postgres and Redis when a process starts."
    )

    app: str = Field(
        "worker",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name of your service: schedules belong to it.",
    )
    task_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Import paths of your task modules, separated by commas."
    )
    builtin_tasks: bool = Field(
        True, description="Register the built-in user tasks and create the table `users`."
    )
    queue: str = Field("arq:queue", description="Where tasks are put; what a worker serves.")
    queues: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Several queues for one worker, as `name=weight`, separated by commas."
    )
    concurrency: int = Field(10, ge=1, description="Tasks that run at once in one process.")
    lease_seconds: float = Field(
        LEASE_SECONDS, ge=1, description="How long a dead worker's job stays locked."
    )
    stall_limit: float = Field(
        STALL_LIMIT, gt=0, description="Seconds a blocked event loop keeps its tasks."
    )
    shutdown_grace: float = Field(
        10.0, ge=0, description="Seconds that running tasks get after SIGTERM."
    )
    unknown_task_grace: float = Field(
        3600.0, ge=0, description="Seconds a task of an unknown name waits for a deploy."
    )
    retention_days: float = Field(
        RETENTION_SECONDS / 86_400,
        ge=0,
        description="Days that a settled task, its result and its errors are kept.",
    )
    max_payload_bytes: int = Field(
        1_048_576, ge=1024, description="Largest arguments or result, as JSON, in bytes."
    )

    log_level: LogLevel = Field("INFO", description="Level of the process's log.")
    api_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Tokens of the HTTP API, of 16 characters or more, separated by commas; "
        "none: loopback only.",
    )
    storage_dir: Path = Field(
        Path("storage"), description="The one folder that file tasks read from and write to."
    )
    smtp_host: str | None = Field(None, description="Mail server; without one no mail is sent.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_tls: Literal["none", "starttls", "tls"] = Field(
        "starttls", description="How the connection to it is secured."
    )
    smtp_username: str | None = Field(None, description="Login at the mail server.")
    smtp_password: SecretStr | None = Field(None, description="Password at the mail server.")
    mail_from: str = Field("worker@localhost", description="Sender of the mail.")
    webhook_secret: SecretStr | None = Field(
        None, description="Key that signs webhook bodies (HMAC-SHA-256)."
    )
    webhook_allow_private: bool = Field(
        False, description="Let webhooks go to private, loopback and link-local addresses."
    )
    stale_user_days: int = Field(
        365, ge=1, description="Days without a visit after which a user counts as stale."
    )
    stale_users_schedule: str | None = Field(
        None, description="When `users.deactivate_stale` runs, as `0 3 * * *`; unset: never."
    )
    prune_schedule: str | None = Field(
        None, description="When `maintenance.prune_tasks` runs; the leader prunes anyway."
    )
    schedule_timezone: str = Field("UTC", description="The zone of those two schedules.")

    @model_validator(mode="before")
    @classmethod
    def _empty_means_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        # `NAME=` in an .env file or a compose file is how a person leaves a setting out.
        return {name: value for name, value in values.items() if value != ""}

    @field_validator("task_modules", "queues", "api_tokens", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check_url(value, ("postgresql+asyncpg", "postgresql", "postgres"))
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        _check_url(value, ("redis", "rediss", "unix"))
        return value

    @field_validator("database_schema")
    @classmethod
    def _is_identifier(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,47}", value):
            raise ValueError("must be a plain identifier of at most 48 characters")
        return value

    @field_validator("queue")
    @classmethod
    def _is_queue(cls, value: str) -> str:
        if fault := fault_in_name(value):
            raise ValueError(fault)
        return value

    @field_validator("queues")
    @classmethod
    def _have_weights(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        weights_of(value)
        return value

    @field_validator("api_tokens")
    @classmethod
    def _are_long(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(token.get_secret_value()) < SHORTEST_TOKEN for token in value):
            raise ValueError(
                f"every token needs at least {SHORTEST_TOKEN} characters; "
                'python -c "import secrets; print(secrets.token_urlsafe())" makes a good one'
            )
        return value

    @property
    def served_queues(self) -> dict[str, float]:
        """The queues that a worker serves, with their weights."""
        return weights_of(self.queues) or {self.queue: 1.0}

    @property
    def dead_after(self) -> float:
        """Seconds without a heartbeat after which a process counts as dead.

        Less than a lease, so that a death is found, and counted, before the lease runs out.
        """
        return self.lease_seconds * 2 / 3

    @property
    def start_limit(self) -> float:
        """Seconds that Postgres may take to start an attempt; then its job is handed back.

        What has not started keeps no lease for longer. A Postgres that is only slow has its time.
        """
        return self.lease_seconds * 2

    @property
    def retention(self) -> float:
        """How long a settled task is kept unless its function says otherwise, in seconds."""
        return self.retention_days * 86_400

    def require_database(self) -> DatabaseSettings:
        """The Postgres part.

        Raises:
            SettingsError: `WORKER_DATABASE_URL` is not set.
        """
        if self.database_url is None:
            raise SettingsError(
                "WORKER_DATABASE_URL is not set; "
                "for example postgresql+asyncpg://user:password@localhost:5432/name"
            )
        return DatabaseSettings(
            url=self.database_url.get_secret_value(),
            pool_size=self.pool_size or self.concurrency + SPARE_CONNECTIONS,
            schema=self.database_schema,
            pooler=self.database_pooler,
        )

    def require_mail(self) -> MailSettings:
        """The mail part.

        Raises:
            SettingsError: `WORKER_SMTP_HOST` is not set.
        """
        if self.smtp_host is None:
            raise SettingsError("WORKER_SMTP_HOST is not set, so no mail can be sent")
        return MailSettings(
            self.smtp_host, self.smtp_port, self.mail_from, self.smtp_tls,
            self.smtp_username, self.smtp_password,
        )  # fmt: skip

    def check_concurrency_fits_pool(self) -> None:
        """Refuse a worker in which tasks would wait for each other's connections.

        Raises:
            SettingsError: With both numbers.
        """
        pool_size = self.require_database().pool_size
        if self.concurrency >= pool_size:
            raise SettingsError(
                f"WORKER_CONCURRENCY={self.concurrency} does not fit WORKER_POOL_SIZE={pool_size}: "
                f"every running task may hold a connection and the relay needs one more. Set "
                f"WORKER_POOL_SIZE to at least {self.concurrency + 1}, or leave it unset for "
                f"{self.concurrency + SPARE_CONNECTIONS}"
            )


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and from ``.env`` in the current directory.

    Args:
        **overrides: Fields by name, which win over both.

    Raises:
        SettingsError: A name is unknown or a value does not fit; every fault in one message.
    """
    for given in (os.environ, DotEnvSettingsSource(Settings, env_file=".env").env_vars):
        if fault := fault_in(given, setting_names()):
            raise SettingsError(fault)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = [
            f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
            if fault["loc"]
        ]
        raise SettingsError("; ".join(faults)) from None


def setting_names() -> list[str]:
    """The environment variables that are settings, sorted."""
    return sorted(PREFIX + name.upper() for name in Settings.model_fields)


def _check_url(value: SecretStr, schemes: Iterable[str]) -> None:
    """Refuse a malformed URL without repeating it: it may hold a password."""
    try:
        parts = urlsplit(value.get_secret_value())
        _ = parts.port
    except ValueError:
        raise ValueError(
            "is not a URL: check the port, and percent-encode special characters in the password"
        ) from None
    if parts.scheme not in schemes:
        raise ValueError(f"must start with one of {', '.join(f'{s}://' for s in schemes)}")
