"""The process's settings: environment variables with the prefix ``WORKER_``, read once.

Only the composition roots (`uow.main`, `uow.api.app`, the commands) and `TaskClient` build
a `Settings`; everything else gets the part it needs. A name that is nearly a setting is refused
with the right one, because pydantic-settings alone would ignore the typo; any other one with the
prefix is somebody else's, and is told of once.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from uow.errors import SettingsError
from uow.settings.of_api import ApiSettings
from uow.settings.of_looking import LookingSettings
from uow.settings.parts import (
    DEFAULT_SCHEMA,
    LEASE_SECONDS,
    STALL_LIMIT,
    DatabaseSettings,
    Pooler,
)
from uow.settings.queues import weights_of
from uow.settings.slips import PREFIX, ignored_in, is_from_kubernetes, slip_in
from uow.settings.types import (
    DatabaseUrl,
    Format,
    Identifier,
    Level,
    Port,
    Queue,
    Queues,
    RedisUrl,
    SettingValues,
    Texts,
)

logger = logging.getLogger(__name__)

SPARE_CONNECTIONS = 4
"""Connections beside one per running task: the relay, the starts of other tasks, a health check."""


class Settings(LookingSettings, ApiSettings):
    """Every setting, its default and its unit. Frozen; secrets do not show in its repr.

    An application adds its own in a class that inherits from this one; `uow.App` names it.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: DatabaseUrl | None = Field(
        None, description="Postgres, as `postgresql+asyncpg://user:password@host:5432/name`."
    )
    database_schema: Identifier = Field(
        DEFAULT_SCHEMA, description="Schema of our tables; `worker migrate` creates it."
    )
    database_pooler: bool | Pooler = Field(
        False,
        description="What a pooling proxy (PgBouncer) that the URL leads to pools: `transaction` "
        "(or `true`) or `session`.",
    )
    pool_size: int | None = Field(
        None, ge=1, description="Connections to Postgres per process; default: concurrency + 4."
    )
    redis_url: RedisUrl = Field(
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
    application: str | None = Field(
        None, description="Where your application is declared, as `module:name` of an `App`."
    )
    task_modules: Texts = Field(
        (), description="Import paths of your task modules, separated by commas."
    )
    queue: Queue = Field("arq:queue", description="Where tasks are put; what a worker serves.")
    queues: Queues = Field(
        (), description="Several queues for one worker, as `name=weight`, separated by commas."
    )
    concurrency: int = Field(10, ge=1, description="Tasks that run at once in one process.")
    threads: int | None = Field(
        None, ge=1, description="Tasks of plain functions (`def`) at once; default: concurrency."
    )
    cpu_slots: int | None = Field(
        None, ge=1, description="Tasks with `process=True` at once; default: one per processor."
    )
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
        7.0, ge=0, description="Days that a settled task, its result and its errors are kept."
    )
    audit_days: float = Field(365.0, ge=0, description="Days that it is kept who has done what.")
    max_payload_bytes: int = Field(
        1_048_576, ge=1024, description="Largest arguments or result, as JSON, in bytes."
    )

    log_level: Level = Field(
        "INFO", description="Level of the loggers `uow` and `arq`; all others are yours."
    )
    log_format: Format = Field(
        "text", description="`text`, or `json`: an object per line; where you log yourself, yours."
    )
    metrics_port: Port | None = Field(
        None, description="Port for `/metrics` of a worker (extra `metrics`); unset: none."
    )
    health_port: Port | None = Field(
        None, description="Port for `/health/live` and `/health/ready` of a worker; unset: none."
    )
    if TYPE_CHECKING:

        def __init__(self, **values: Unpack[SettingValues]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _as_people_write(cls, values: dict[str, Any]) -> dict[str, Any]:
        # `NAME=` in an .env file or a compose file is how a person leaves a setting out, and a
        # secret that is kept in a file ends as its lines do.
        return {
            name: value.rstrip("\r\n") if isinstance(value, str) else value
            for name, value in values.items()
            if value not in ("", "\n", "\r\n") and not is_from_kubernetes(name, value)
        }

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

    @property
    def given_schema(self) -> str | None:
        """The schema that somebody has set; None: the default holds, if nothing speaks against."""
        return self.database_schema if "database_schema" in self.model_fields_set else None

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
            schema=self.given_schema,
            pooler=self.database_pooler,
        )

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


class GivenSettings(Settings):
    """What the code says, and defaults: neither the environment nor a ``.env`` has a say."""

    model_config = SettingsConfigDict(env_file=None)

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # it is called with keywords
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone."""
        return (init_settings,)


S = TypeVar("S", bound=Settings)


@overload
def load_settings(**overrides: Unpack[SettingValues]) -> Settings: ...


@overload
def load_settings(kind: type[S], /, **overrides: Unpack[SettingValues]) -> S: ...


def load_settings(
    kind: type[Settings] = Settings, /, **overrides: Unpack[SettingValues]
) -> Settings:
    """Read the settings from the environment and from ``.env`` in the current directory.

    Args:
        kind: The application's class, if it has one. Its names are settings, and so are those of
            every other class of settings that has been imported: what one reads is no slip for
            another.
        **overrides: Fields by name, which win over both.

    Raises:
        SettingsError: A name is nearly a setting's, or a value does not fit; every fault in one
            message.
    """
    known = sorted({name for one in (kind, *_imported()) for name in setting_names(one)})
    for given in _given():
        if fault := slip_in(given, known):
            raise SettingsError(fault)
        for warning in ignored_in(given, known):
            _warn_once(warning)
    try:
        return kind(**overrides)
    except ValidationError as error:
        faults = [_told(fault) for fault in error.errors() if fault["loc"]]
        raise SettingsError("; ".join(faults)) from None


def setting_names(kind: type[Settings] = Settings) -> list[str]:
    """The environment variables that are settings, sorted."""
    return sorted(PREFIX + name.upper() for name in kind.model_fields)


def said_of(name: str) -> str | None:
    """What the environment, or else ``.env``, says of this setting; all others are left unread."""
    for given in _given():
        named = {key.upper(): value for key, value in given.items()}
        if (value := named.get(f"{PREFIX}{name.upper()}")) is not None:
            return value.strip() or None
    return None


def _imported(kind: type[Settings] = Settings) -> Iterator[type[Settings]]:
    """`kind` and every class that inherits from it."""
    yield kind
    for one in kind.__subclasses__():
        yield from _imported(one)


def _given() -> tuple[Mapping[str, str | None], ...]:
    """The environment, and the file that it wins over."""
    return os.environ, DotEnvSettingsSource(Settings, env_file=".env").env_vars


def _told(fault: Mapping[str, Any]) -> str:
    """A value's fault in one line; with the value where that can be no secret."""
    text = fault["msg"].removeprefix("Value error, ")
    if fault["type"] != "value_error" and isinstance(fault["input"], str):
        text = f"{text} (it says {fault['input']!r})"
    return f"{PREFIX}{str(fault['loc'][0]).upper()}: {text}"


@cache
def _warn_once(warning: str) -> None:
    logger.warning("%s", warning)
