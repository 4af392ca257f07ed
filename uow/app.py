"""What an application brings, and which application is run.

Everything is named and imported when it is needed: a worker has no use for FastAPI, nor an API for
Alembic.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uow.errors import SettingsError
from uow.settings.environment import Settings, is_set
from uow.user_code import imported

if TYPE_CHECKING:
    from uow.schedules.cron import DeclaredSchedule

USUAL = "worker.main:app"
"""Where an application is that nobody has named, if it is in the current directory."""

_SPEAKS_OF_AN_APP = re.compile(r"\bApp\b")


def _no_schedules(_: Any) -> Sequence["DeclaredSchedule"]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An application of the library: what its worker, its API and its commands are made of.

    Attributes:
        settings: The class of its settings, which inherits from `Settings`.
        modules: Import paths of its task modules; those of ``WORKER_TASK_MODULES`` come beside
            them.
        schedules: Those that its settings ask for; the ones of `@cron` need no mention.
        routers: FastAPI routers, as ``module:name``, that `worker api` serves beside its own and
            behind the same tokens.
        migrations: Import path of the folder of its Alembic; `worker migrate` runs them after ours.
    """

    settings: type[Settings] = Settings
    modules: Sequence[str] = ()
    schedules: Callable[[Any], Sequence["DeclaredSchedule"]] = _no_schedules
    routers: Sequence[str] = ()
    migrations: str | None = None


def find_app(named: str | None) -> App:
    """The application that is run.

    It is the one that is `named`. Without a name it is `app` of the package ``worker`` in the
    current directory, if its ``main.py`` makes an `App` and nobody has set
    ``WORKER_TASK_MODULES``; a ``worker`` of any other kind is left alone. Else it is ``App()``,
    which has nothing but the task modules of the settings.

    Args:
        named: As ``module:name``.

    Raises:
        SettingsError: There is none of that name, or its module cannot be imported.
    """
    if named is not None:
        return _named(named)
    if is_set("task_modules") or not _makes_an_app(Path("worker")):
        return App()
    found = find(USUAL)
    return found if isinstance(found, App) else App()


def find(named: str) -> object:
    """What is called ``module:name``; None: there is nothing of that name.

    Raises:
        SettingsError: The module cannot be imported.
    """
    module, _, name = named.partition(":")
    return getattr(imported(module, named), name, None) if module else None


def _named(named: str) -> App:
    found = find(named)
    if not isinstance(found, App):
        raise SettingsError(f"{named} is no App: name one as module:name, as in {USUAL}")
    return found


def _makes_an_app(package: Path) -> bool:
    """Read and not imported: somebody's program may do its work when it is imported."""
    main = package / "main.py"
    try:
        return (package / "__init__.py").is_file() and bool(
            _SPEAKS_OF_AN_APP.search(main.read_text(encoding="utf-8"))
        )
    except (OSError, UnicodeDecodeError):
        return False
