"""How much is logged: the one setting of ours that counts for somebody's arq class.

It is read without the others. There, a name with our prefix may be the application's own; and what
reads all of them would be most of what such a worker imports.
"""

import os
from typing import Literal, get_args

from uow.errors import SettingsError

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

NAME = "WORKER_LOG_LEVEL"


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
