"""What a setting of an arq class must be. arq finds out with a traceback, from somewhere within."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta, tzinfo
from numbers import Real
from typing import Any

from arq.worker import func

from uow.user_code import described

Fault = Callable[[Any], str | None]
"""Says what is wrong with a value; None: nothing."""


def fault_in(options: Mapping[str, Any]) -> str | None:
    """What is wrong with the first option that is of a wrong kind; None: nothing."""
    for name, fault_of in _FAULTS.items():
        value = options.get(name)
        if value is not None and (fault := fault_of(value)):
            return f"{name} {fault}"
    if not options.get("functions") and not options.get("cron_jobs"):
        return "it has no functions and no cron_jobs, so there is nothing to run"
    functions = options.get("functions")  # what can be read only once is left to arq
    return _fault_in_functions(functions) if isinstance(functions, Collection) else None


def _fault_in_functions(functions: Iterable[Any]) -> str | None:
    for function in functions:
        try:
            func(function)
        except Exception as error:  # whatever somebody's module raises when it is imported
            shown = repr(function) if isinstance(function, str) else _shown(function)
            return f"functions: {shown} cannot be run: {described(error)}"
    return None


def _fault_in_redis(value: object) -> str | None:
    right = "arq.connections.RedisSettings(…) or RedisSettings.from_dsn(…)"
    if isinstance(value, str):
        return f"is a text: write {right}"
    if callable(value):
        return f"was not called, it is {_shown(value)} itself: write {right}"
    if not hasattr(value, "host"):
        return f"is a {type(value).__name__}: write {right}"
    return None


def _fault_in_zone(value: object) -> str | None:
    if isinstance(value, str):
        return f"is a text: write zoneinfo.ZoneInfo({value!r})"
    if not isinstance(value, tzinfo):
        return f"is {_shown(value)}: write zoneinfo.ZoneInfo(…)"
    return None


def _fault_in_list(value: object) -> str | None:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return f"is {_shown(value)}, not a list"
    return None


def _fault_in_hook(value: object) -> str | None:
    return None if callable(value) else f"is {_shown(value)}, not a function"


def _fault_in_number(value: object) -> str | None:
    return None if isinstance(value, Real) else f"is {_shown(value)}, not a number"


def _fault_in_seconds(value: object) -> str | None:
    return None if isinstance(value, timedelta) else _fault_in_number(value)


def _shown(value: object) -> str:
    """A value's name or kind: what it is may be a secret."""
    return getattr(value, "__name__", None) or f"a {type(value).__name__}"


_FAULTS: Mapping[str, Fault] = {
    "redis_settings": _fault_in_redis,
    "timezone": _fault_in_zone,
    **dict.fromkeys(("functions", "cron_jobs"), _fault_in_list),
    **dict.fromkeys(
        ("on_startup", "on_shutdown", "on_job_start", "on_job_end", "after_job_end",
         "job_serializer", "job_deserializer"), _fault_in_hook,
    ),
    **dict.fromkeys(
        ("max_jobs", "max_tries", "max_burst_jobs", "queue_read_limit", "job_completion_wait",
         "expires_extra_ms", "lease_seconds", "stall_limit"), _fault_in_number,
    ),
    **dict.fromkeys(
        ("job_timeout", "keep_result", "poll_delay", "health_check_interval"), _fault_in_seconds
    ),
}  # fmt: skip
