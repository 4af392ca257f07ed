"""`worker run`: from options to settings."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from uow.errors import InvalidOptions, ServerUnreachable
from uow.fast.arq.settings_class import find, options_of
from uow.run import run_arq_settings, run_tasks
from uow.settings.log_level import LogFormat, LogLevel, log_format, log_level
from uow.settings.queues import weights_of
from uow.telemetry import logs

if TYPE_CHECKING:
    from uow.app import Found
    from uow.settings.environment import Settings

ConfigureLog = Callable[[LogLevel, LogFormat], None]


def run_app(
    named: str | None,
    configure_log: ConfigureLog,
    *,
    stock: bool,
    burst: bool,
    concurrency: int | None,
    queues: Sequence[str],
    allow_pickle: bool,
) -> None:
    """Run the tasks of the application of that name, or of the one that is here.

    Args:
        configure_log: Called when the application has been imported.

    Raises:
        InvalidOptions: Two options exclude each other, or a queue is none.
    """
    if allow_pickle:
        raise InvalidOptions("--allow-pickle is for a SETTINGS class; our tasks are JSON")
    found, settings = load(named, **_given(concurrency=concurrency, queues=tuple(queues) or None))
    run_tasks(
        settings,
        found.app,
        stock=stock,
        burst=burst,
        configure_log=partial(configure_log, settings.log_level, settings.log_format),
        announce=found.tell,
    )


def run_arq_class(
    path: str,
    configure_log: ConfigureLog,
    *,
    stock: bool,
    burst: bool | None,
    concurrency: int | None,
    queues: Sequence[str],
    allow_pickle: bool,
) -> None:
    """Run the functions of somebody's arq settings class.

    Raises:
        InvalidOptions: As `run_app`.
    """
    if stock:
        raise InvalidOptions(f"for {path} under stock arq there is `arq {path}`")
    run_arq_settings(
        path,
        _given(burst=burst, max_jobs=concurrency, queues=_weights(queues) or None),
        allow_pickle=allow_pickle,
        configure_log=partial(configure_log, log_level(), log_format()),
    )


def check_worker(
    named: str | None,
    arq_settings: str | None,
    configure_log: ConfigureLog,
) -> int:
    """Ask Redis whether such a worker lives, as ``arq --check`` does; 0 if one does, else 1.

    Raises:
        ServerUnreachable: There is no Redis to ask.
    """
    from arq.worker import async_check_health

    from uow.broker.redis import AWAY
    from uow.broker.redis import arq_settings as as_arq_says

    if arq_settings is None:
        _, settings = load(named)
        url, queue = settings.redis_url.get_secret_value(), settings.queue
        options: Mapping[str, Any] = {"redis_settings": as_arq_says(url), "queue_name": queue}
        configure_log(settings.log_level, settings.log_format)
    else:
        found = find(arq_settings)
        configure_log(log_level(), log_format())
        options = options_of(found, arq_settings, allow_pickle=True)
    names = ("redis_settings", "health_check_key", "queue_name")
    try:
        return asyncio.run(async_check_health(*map(options.get, names)))
    except AWAY as error:
        raise ServerUnreachable(f"no Redis to ask ({error})") from error


def log_configuration(*, verbose: bool, custom_log_dict: str | None) -> ConfigureLog:
    """What configures the log as these options, a level and a format say."""

    def configure(level: LogLevel, form: LogFormat) -> None:
        if custom_log_dict is not None:
            logs.configure_as_told(custom_log_dict)
        logs.configure("DEBUG" if verbose else level, form)

    return configure


def load(named: str | None, **overrides: Any) -> "tuple[Found, Settings]":
    """The application and its settings, with some that win; an arq class has no use for either."""
    from uow.app import look_for_app

    found = look_for_app(named)
    return found, found.app.load_settings(**overrides)


def _weights(queues: Sequence[str]) -> dict[str, float]:
    try:
        return weights_of(queues)
    except ValueError as error:
        raise InvalidOptions(f"--queue: {error}") from None


def _given(**options: Any) -> dict[str, Any]:
    """Those that were given: the others are left to the settings."""
    return {name: value for name, value in options.items() if value is not None}
