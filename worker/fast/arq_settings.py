"""Reads a stock arq settings class, as `arq module.WorkerSettings` does, but looks at it first.

Two things that arq lets pass are refused: a name that means nothing, and reading jobs with pickle,
which runs whatever code somebody has put into Redis.
"""

import difflib
import inspect
import pickle
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any

from arq.worker import Worker

from worker.errors import SettingsError
from worker.user_code import described

OURS = ("lease_seconds", "stall_limit", "queues")
"""What such a class may say beyond arq's own names."""

_ARQS = frozenset(inspect.signature(Worker).parameters)

_PICKLES = (None, pickle.loads, pickle.dumps)


def load(path: str, *, allow_pickle: bool = False) -> dict[str, Any]:
    """The options of the settings class at `path`, as ``module.Name``.

    Names are inherited; those with a leading underscore, and functions that are no setting, are the
    class's own business.

    Raises:
        SettingsError: It is not there, a name is neither arq's nor ours, or it relies on pickle.
    """
    options = _options_of(path, _find(path))
    if not allow_pickle:
        _refuse_pickle(path, options)
    return options


def _find(path: str) -> object:
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
        near = difflib.get_close_matches(name, vars(module), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"{path}: there is no {name} in {name_of_module}{hint}")
    return getattr(module, name)


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


def _options_of(path: str, settings: object) -> dict[str, Any]:
    if isinstance(settings, Mapping):
        given = dict(settings)
    elif inspect.isclass(settings):
        given = {k: v for kind in reversed(settings.__mro__[:-1]) for k, v in vars(kind).items()}
    else:
        raise SettingsError(f"{path} is a {type(settings).__name__}, not a class or a dict")
    known = {*_ARQS, *OURS}
    options = {}
    for name, value in given.items():
        if name in known:
            options[name] = value.__func__ if isinstance(value, staticmethod) else value
        elif not name.startswith("_"):
            _refuse_unknown(path, name, value, known)
    return options


def _refuse_unknown(path: str, name: str, value: object, known: set[str]) -> None:
    near = difflib.get_close_matches(name, known, n=1)
    if isinstance(value, FunctionType | staticmethod | classmethod | property) and not near:
        return
    hint = f"; did you mean {near[0]}?" if near else "; a leading underscore makes it your own"
    raise SettingsError(f"{path}: {name} is neither a setting of arq nor of ours{hint}")


def _refuse_pickle(path: str, options: Mapping[str, Any]) -> None:
    missing = [
        name
        for name in ("job_serializer", "job_deserializer")
        if options.get(name) in _PICKLES
    ]  # fmt: skip
    if missing:
        raise SettingsError(
            f"{path} has no {' and no '.join(missing)}, so jobs are pickle: who can write to Redis "
            "can run code here. Set job_serializer = worker.broker.codec.serialize and "
            "job_deserializer = worker.broker.codec.deserialize, here and in your clients, or "
            "accept it with --allow-pickle"
        )
