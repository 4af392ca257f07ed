"""What a setting may be, as types; and what `Settings` may be given, as a dict."""

import re
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, TypedDict

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from uow.settings.log_level import LogFormat, LogLevel
from uow.settings.parts import Pooler
from uow.settings.queues import fault_in_name, weights_of
from uow.urls import parts, postgres, redis

SHORTEST_TOKEN = 16
"""Characters: less can be guessed by trying."""

SHORTEST_SECRET = 32
"""Characters of a key that signs."""


class SettingValues(TypedDict, total=False):
    """The arguments of `Settings`, as code writes them: text for a secret, a list for a tuple.

    Type checkers know them from here, whether or not they have a plugin for pydantic. A class of
    yours that inherits from `Settings` has a dict of its own that inherits from this one.
    """

    database_url: str | SecretStr | None
    database_schema: str
    database_pooler: bool | Pooler
    pool_size: int | None
    redis_url: str | SecretStr
    connect_timeout: float
    app: str
    application: str | None
    task_modules: str | Sequence[str]
    queue: str
    queues: str | Sequence[str]
    concurrency: int
    threads: int | None
    cpu_slots: int | None
    lease_seconds: float
    stall_limit: float
    shutdown_grace: float
    unknown_task_grace: float
    retention_days: float
    audit_days: float
    max_payload_bytes: int
    log_level: LogLevel
    log_format: LogFormat
    metrics_port: int | None
    health_port: int | None
    api_tokens: str | Sequence[str | SecretStr]
    redact: str | Sequence[str]
    api_tokens_file: str | Path | None
    api_secret: str | SecretStr | None
    api_root_path: str
    trusted_proxies: str | Sequence[str]


Port = Annotated[int, Field(ge=0, le=65535)]
"""Of a server of ours; 0: any that is free."""


def _split_at_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _postgres(value: SecretStr) -> SecretStr:
    text = parts.unwrapped(value.get_secret_value())
    if not postgres.read(text).takes_writes:
        raise ValueError(
            "asks for a server that takes no writes: write target_session_attrs=primary"
        )
    return SecretStr(text)


def _redis(value: SecretStr) -> SecretStr:
    return SecretStr(redis.canonical(value.get_secret_value()))


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,47}", value):
        raise ValueError("must be a plain identifier of at most 48 characters")
    return value


def _queue(value: str) -> str:
    if fault := fault_in_name(value):
        raise ValueError(fault)
    return value


def _queues(value: tuple[str, ...]) -> tuple[str, ...]:
    weights_of(value)
    return value


def _tokens(value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if any(len(token.get_secret_value()) < SHORTEST_TOKEN for token in value):
        raise ValueError(
            f"every token needs at least {SHORTEST_TOKEN} characters; "
            'python -c "import secrets; print(secrets.token_urlsafe())" makes a good one'
        )
    return value


def _secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET:
        raise ValueError(
            f"needs at least {SHORTEST_SECRET} characters; "
            'python -c "import secrets; print(secrets.token_urlsafe())" makes a good one'
        )
    return value


def _root_path(value: str) -> str:
    path = value.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError("must be a path as /worker, of letters, digits and . _ ~ -")
    return path


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        try:
            ip_network(one, strict=False)
        except ValueError:
            raise ValueError(
                f"{one!r} is neither an address nor a network: write 10.0.0.7 or 10.0.0.0/8"
            ) from None
    return value


_Listed = BeforeValidator(_split_at_commas)

Level = Annotated[LogLevel, BeforeValidator(_upper)]
Format = Annotated[LogFormat, BeforeValidator(_lower)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_postgres)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
Identifier = Annotated[str, AfterValidator(_identifier)]
Queue = Annotated[str, AfterValidator(_queue)]
Texts = Annotated[tuple[str, ...], NoDecode, _Listed]
Queues = Annotated[tuple[str, ...], NoDecode, _Listed, AfterValidator(_queues)]
Secret = Annotated[SecretStr | None, AfterValidator(_secret)]
RootPath = Annotated[str, AfterValidator(_root_path)]
Networks = Annotated[tuple[str, ...], NoDecode, _Listed, AfterValidator(_networks)]
Tokens = Annotated[tuple[SecretStr, ...], NoDecode, _Listed, AfterValidator(_tokens)]
