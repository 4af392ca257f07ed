"""Somebody's own code: importing it, and where in it an error comes from, in one line."""

import contextlib
import inspect
import sysconfig
import traceback
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType

from uow.errors import SettingsError, WorkerError

_OURS = Path(__file__).parent
_INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


def imported(module: str, named_by: str) -> ModuleType:
    """A module of somebody's.

    Args:
        named_by: What has named it, for the message.

    Raises:
        SettingsError: It cannot be imported; with the place in it that has failed.
        WorkerError: It uses ours wrongly, which is told as it is.
    """
    try:
        return import_module(module)
    except WorkerError:
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            why = f"there is no {missing}; the current directory is on the path"
        else:
            why = described(error)
        raise SettingsError(f"{named_by}: cannot import {module}: {why}") from error


def find(named: str, by: str | None = None) -> object:
    """What is called ``module:name``; None: there is nothing of that name.

    Args:
        by: What has named it, for the message; None: it says enough itself.

    Raises:
        SettingsError: As `imported`.
    """
    module, _, name = named.partition(":")
    return getattr(imported(module, by or named), name, None) if module else None


def described(error: BaseException, raised: BaseException | None = None) -> str:
    """Type, message and, if a line of somebody's own code led to it, that line's place.

    For example ``KeyError: 'REDIS_URL' (app/jobs.py:13)``. A `SyntaxError` says its place itself.

    Args:
        raised: What reached that code, if it is another: a driver's error comes wrapped.
    """
    said = " ".join(f"{type(error).__name__}: {error}".split())
    place = None if isinstance(error, SyntaxError) else _place(raised or error)
    return f"{said} ({place})" if place else said


def whereabouts(function: object) -> str:
    """What a function of somebody's is called, and where it is: ``audit (app/jobs.py:13)``."""
    inner = inspect.unwrap(function) if callable(function) else function
    name = getattr(inner, "__qualname__", None) or repr(function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return str(name)
    return f"{name} ({_seen_from_here(Path(code.co_filename))}:{code.co_firstlineno})"


def place_in(frame: FrameType) -> str:
    """The line of somebody's own code that a thread is in, by its innermost frame; or that one's.

    For example ``fetch (app/jobs.py:13)``.
    """
    found: FrameType | None = frame
    while found is not None and not _is_somebodys_own(Path(found.f_code.co_filename)):
        found = found.f_back
    shown = found or frame
    file = _seen_from_here(Path(shown.f_code.co_filename))
    return f"{shown.f_code.co_qualname} ({file}:{shown.f_lineno})"


def _place(error: BaseException) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_somebodys_own(Path(frame.filename))]
    return f"{_seen_from_here(Path(own[-1].filename))}:{own[-1].lineno}" if own else None


def _is_somebodys_own(file: Path) -> bool:
    """Neither the import system's, nor a library's, nor ours."""
    return file.is_file() and not any(file.is_relative_to(code) for code in (_OURS, *_INSTALLED))


def _seen_from_here(file: Path) -> Path:
    with contextlib.suppress(OSError, ValueError):  # there may be no "here" any more
        return file.relative_to(Path.cwd())
    return file
