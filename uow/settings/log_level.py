"""How much is logged, and how: the settings of ours that count for somebody's arq class.

They are read without the others. There, a name with our prefix may be the application's own; and
what reads all of them would be most of what such a worker imports.
"""

import os
from typing import Literal, get_args

from uow.errors import SettingsError

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

LogFormat = Literal["text", "json"]

NAME = "WORKER_LOG_LEVEL"

FORMAT_NAME = "WORKER_LOG_FORMAT"


def log_level() -> LogLevel:
    """What the environment says, or ``INFO``; the file ``.env`` is the application's.

    Raises:
        SettingsError: It says something else than a level.
    """
    given = os.environ.get(NAME, "").upper() or "INFO"
    for level in get_args(LogLevel):
        if given == level:
            return level  # type: ignore[no-any-return]
    raise SettingsError(f"{NAME} is none of {', '.join(get_args(LogLevel))}")


def log_format() -> LogFormat:
    """What the environment says, or ``text``, in the same way.

    Raises:
        SettingsError: It says something else than a format.
    """
    given = os.environ.get(FORMAT_NAME, "").lower() or "text"
    for form in get_args(LogFormat):
        if given == form:
            return form  # type: ignore[no-any-return]
    raise SettingsError(f"{FORMAT_NAME} is none of {', '.join(get_args(LogFormat))}")
