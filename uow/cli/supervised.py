"""``worker run`` in several processes or with ``--watch``: what the parent must know."""

import sys
from pathlib import Path

from uow.cli.app import start_for_arq, start_with
from uow.errors import WorkerError
from uow.user_code import find


def told_apart(what: str | None) -> tuple[str | None, str | None]:
    """What is to be run: the name of an `App`, or the path of an arq settings class.

    With a colon it may be either, and its module is imported to see which. Without a name, neither
    is there: it is the application that is found.

    Raises:
        SettingsError: The module cannot be imported.
    """
    if what is None or (":" in what and _is_an_app(find(what))):
        return what, None
    return None, what


def run_supervised(
    what: str | None, processes: int, watched: Path | None, *, burst: bool, **overrides: object
) -> int:
    """Run such processes, as `uow.process.supervisor.supervise`; returns the exit code.

    Args:
        what: As `told_apart`.
        processes: How many.
        watched: The directory whose changes restart them.
        burst: They end when nothing is due.
        **overrides: Settings that win.

    Raises:
        WorkerError: What is to be run is not there, and there is no change to wait for; or as
            `supervise`.
    """
    from uow.app import find_app
    from uow.process.supervisor import supervise

    try:
        name, arq_class = told_apart(what)
        app = None if arq_class else find_app(name)
    except WorkerError:
        if watched is None:
            raise
        app = None  # its processes say why, and wait for a change; what we look after is theirs
    settings = start_with(app, **overrides) if app is not None else start_for_arq(**overrides)
    return supervise(settings, processes, watched, burst=burst, needs_database=app is not None)


def _is_an_app(found: object) -> bool:
    """Asked without an import of the class, which somebody's arq class is to be spared."""
    module = sys.modules.get("uow.app")
    return module is not None and isinstance(found, module.AppParts)
