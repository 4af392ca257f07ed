"""Reads a stock arq settings class, as `arq module.WorkerSettings` does, but looks at it first.

Refused is reading jobs with pickle, which runs whatever code somebody has put into Redis, and a
setting that arq would stumble over. A name that is no setting is ignored, as by arq, but not in
silence.
"""

import inspect
import logging
import pickle
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from arq.worker import Worker

from uow.errors import SettingsError
from uow.fast.arq.kinds import fault_in
from uow.spelling import did_you_mean
from uow.user_code import described

logger = logging.getLogger(__name__)

OUR_OPTIONS = ("lease_seconds", "stall_limit", "queues")
"""What such a class may say beyond arq's own names."""

_ARQS = frozenset(inspect.signature(Worker).parameters)

_HOOKS = ("on_startup", "on_shutdown", "on_job_start", "on_job_end", "after_job_end")

_MEANT = {
    "concurrency": "max_jobs", "cron": "cron_jobs", "crons": "cron_jobs",
    "grace_period": "job_completion_wait", "job_results_ttl": "keep_result",
    "job_retries": "max_tries", "max_concurrency": "max_jobs", "max_retries": "max_tries",
    "max_workers": "max_jobs", "poll_interval": "poll_delay", "queue": "queue_name",
    "redis": "redis_settings", "redis_url": "redis_settings", "result_ttl": "keep_result",
    "results_ttl": "keep_result", "retries": "max_tries", "retry": "retry_jobs",
    "shutdown_timeout": "job_completion_wait", "tasks": "functions", "timeout": "job_timeout",
    "tz": "timezone",
}  # fmt: skip
"""What arq calls what others call so; a name that is only misspelt needs no entry."""

SURELY = 0.75
"""How like a setting's name another must be to be taken for it, from 0 to 1."""

_PICKLES = (None, pickle.loads, pickle.dumps)


def find(path: str) -> object:
    """What is at `path`, as ``module.Name``; imports the module.

    Raises:
        SettingsError: There is nothing, or a module.
    """
    name_of_module, _, name = path.replace(":", ".").rpartition(".")
    if not name_of_module or name_of_module.startswith("."):
        raise SettingsError(f"{path}: expected module.Name of a settings class")
    module = _import(path, name_of_module)
    if _is_module(f"{name_of_module}.{name}", module):
        raise SettingsError(
            f"{path} is a module; which class in it? (Modules with @task functions are not named "
            "here but in WORKER_TASK_MODULES.)"
        )
    if not hasattr(module, name):
        near = did_you_mean(name, vars(module))
        hint = f"; did you mean {near}?" if near else ""
        raise SettingsError(f"{path}: there is no {name} in {name_of_module}{hint}")
    return getattr(module, name)


def options_of(
    settings: object,
    name: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    allow_pickle: bool = False,
) -> dict[str, Any]:
    """The options that a settings class, an instance of one, or a dict holds.

    Names are inherited. Those that are no setting are named in a warning, unless they begin with an
    underscore or are functions, classes or modules: those are the class's own business.

    Args:
        name: What it is called in messages.
        overrides: Options that win over it.

    Raises:
        SettingsError: It is none, it relies on pickle, or a setting is of a wrong kind.
    """
    given = _given_by(settings, name)
    known = {*_ARQS, *OUR_OPTIONS}
    options = {one: _callable_of(value, settings) for one, value in given.items() if one in known}
    if ignored := list(_ignored(given, known)):
        logger.warning(
            "%s: ignored, for neither arq nor we have such a setting: %s (a leading underscore "
            "makes a name your own)", name, "; ".join(ignored),
        )  # fmt: skip
    options |= overrides or {}
    if fault := fault_in(options):
        raise SettingsError(f"{name}: {fault}")
    if not allow_pickle:
        _refuse_pickle(name, options)
    return options


def _import(path: str, name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:  # whatever somebody's code raises when it is imported
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise SettingsError(f"{path}: there is no module {error.name}") from error
        raise SettingsError(f"{path}: cannot import {name}: {described(error)}") from error


def _is_module(name: str, parent: ModuleType) -> bool:
    """Whether `name` is a module of `parent`."""
    there = getattr(parent, name.rpartition(".")[2], None)
    if there is None:  # or it was not imported yet
        return hasattr(parent, "__path__") and find_spec(name) is not None
    return isinstance(there, ModuleType)


def _given_by(settings: object, name: str) -> dict[str, Any]:
    if isinstance(settings, Mapping):
        return dict(settings)
    kind = settings if inspect.isclass(settings) else type(settings)
    given = {
        one: value for base in reversed(kind.__mro__[:-1]) for one, value in vars(base).items()
    }
    if kind is settings:
        return given
    if not hasattr(settings, "__dict__") or callable(settings):
        raise SettingsError(f"{name} is a {kind.__name__}, not a class or a dict")
    return {**given, **vars(settings)}


def _callable_of(value: object, settings: object) -> object:
    """A hook as it can be called, of which the class body has only what makes it one."""
    if isinstance(value, staticmethod):
        return value.__func__
    kind = settings if isinstance(settings, type) else type(settings)
    return value.__get__(None, kind) if isinstance(value, classmethod) else value


def _ignored(given: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    """Each name that somebody may have meant for a setting, with the one that he meant."""
    for name, value in given.items():
        if name in known or name.startswith("_"):
            continue
        is_code = _is_code(value)
        meant = _hook_meant_by(name, given) if is_code else _meant_by(name, known, given)
        if meant:
            yield f"{name}, did you mean {meant}?"
        elif not is_code:
            yield name


def _meant_by(name: str, known: set[str], given: Mapping[str, Any]) -> str | None:
    if (usual := _MEANT.get(name.lower())) is not None:
        return None if usual in given else usual
    return did_you_mean(name.lower(), sorted(known), likeness=SURELY)


def _hook_meant_by(name: str, given: Mapping[str, Any]) -> str | None:
    """A hook that is not there, and nearly called so; None: it is a function like any other."""
    if not inspect.iscoroutinefunction(given[name]):
        return None
    missing = [hook for hook in _HOOKS if hook not in given]
    return did_you_mean(name.lower(), missing, likeness=SURELY)


def _is_code(value: object) -> bool:
    """A function, a class, a module, a property: what a class body holds beside settings."""
    return isinstance(value, ModuleType) or callable(value) or hasattr(type(value), "__get__")


def _refuse_pickle(path: str, options: Mapping[str, Any]) -> None:
    missing = [
        name
        for name in ("job_serializer", "job_deserializer")
        if options.get(name) in _PICKLES
    ]  # fmt: skip
    if missing:
        raise SettingsError(
            f"{path} has no {' and no '.join(missing)}, so jobs are pickle: who can write to Redis "
            "can run code here. Set job_serializer = uow.broker.codec.serialize and "
            "job_deserializer = uow.broker.codec.deserialize, here and in your clients, or "
            "accept it with --allow-pickle (in Python: allow_pickle=True)"
        )
