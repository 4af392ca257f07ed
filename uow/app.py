"""What an application brings, and which application is run.

Everything is named and imported when it is needed: a worker has no use for FastAPI, nor an API for
Alembic.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uow.errors import SettingsError
from uow.settings.environment import Settings, load_settings, said_of
from uow.user_code import find

if TYPE_CHECKING:
    from uow.schedules.cron import DeclaredSchedule

logger = logging.getLogger(__name__)

USUAL = "worker.main:app"
"""Where an application is that nobody has named, if it is in the current directory."""

_PACKAGE = "worker"

# Each alone is in many a main.py: Slack has an App, too, and FastAPI an app.
_SIGNS_OF_AN_APP = (
    re.compile(r"^\s*(from\s+uow(\.\w+)*\s+import|import\s+uow)\b", re.MULTILINE),
    re.compile(r"\bApp\b"),
    re.compile(r"^app\s*(:[^=\n]+)?=(?!=)", re.MULTILINE),
)


def _no_schedules(_: Any) -> Sequence["DeclaredSchedule"]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppParts:
    """What an application's worker, its API and its commands are made of: `uow.App` runs them.

    Attributes:
        settings: The class of its settings, which inherits from `Settings` and is read when
            something starts; or settings that the code has made, which are taken as they are.
        modules: Import paths of its task modules; those of ``WORKER_TASK_MODULES`` come beside
            them.
        schedules: Those that its settings ask for; the ones of `@cron` need no mention.
        routers: FastAPI routers, as ``module:name``, that `worker api` serves beside its own and
            behind the same tokens.
        migrations: Import path of the folder of its Alembic; `worker migrate` runs them after ours.
    """

    settings: type[Settings] | Settings = Settings
    modules: Sequence[str] = ()
    schedules: Callable[[Any], Sequence["DeclaredSchedule"]] = _no_schedules
    routers: Sequence[str] = ()
    migrations: str | None = None

    def load_settings(self, **overrides: Any) -> Settings:
        """Its settings.

        Args:
            **overrides: Fields by name, which win over what they say.

        Raises:
            SettingsError: A setting is missing, unknown or malformed.
        """
        said = self.settings
        if not isinstance(said, Settings):
            return load_settings(said, **overrides)
        if not overrides:
            return said
        given = {name: getattr(said, name) for name in said.model_fields_set}
        return load_settings(type(said), **{**given, **overrides})


@dataclass(frozen=True, slots=True)
class Found:
    """The application that is run.

    Attributes:
        app: It. Where there is none: nothing but the task modules of the settings.
        said: What the log is to say of it; None: nothing.
    """

    app: AppParts
    said: str | None = None

    def tell(self) -> None:
        """Log which it is; to be called when the log is configured."""
        if self.said is not None:
            logger.info("%s", self.said)


def find_app(named: str | None) -> AppParts:
    """The application that is run: as `look_for_app`."""
    return look_for_app(named).app


def look_for_app(named: str | None) -> Found:
    """The application that is run, and what is to be said of it.

    It is the one that is `named`, or else the one that ``WORKER_APPLICATION`` names. Without a name
    it is `app` of the package ``worker`` in the current directory, if its ``main.py`` makes an
    `uow.App` and nobody has set ``WORKER_TASK_MODULES``; a ``worker`` of any other kind, or from
    elsewhere, is left alone.

    Args:
        named: As ``module:name``.

    Raises:
        SettingsError: There is none of that name, or its module cannot be imported.
    """
    if named is not None:
        return _named(named)
    if (given := said_of("application")) is not None:
        return _named(given, by="WORKER_APPLICATION")
    if not _is_here():
        return Found(AppParts())
    if said_of("task_modules") is not None:
        said = f"no application: WORKER_TASK_MODULES is set, so not {USUAL} from here"
        return Found(AppParts(), said)
    found = find(USUAL)
    if not isinstance(found, AppParts):
        return Found(AppParts())
    return Found(found, f"application {USUAL}")


def _named(named: str, by: str | None = None) -> Found:
    found = find(named, by)
    if not isinstance(found, AppParts):
        start = f"{by}: " if by else ""
        kind = type(found).__qualname__
        there = "there is none of that name" if found is None else f"it is of type {kind}"
        raise SettingsError(
            f"{start}{named} is no App: name one as module:name, as in {USUAL} ({there})"
        )
    return Found(found, f"application {named}")


def _is_here() -> bool:
    """Whether there is a package of that name that an import would find, and it makes an `App`."""
    package = Path(_PACKAGE)
    return _makes_an_app(package / "main.py") and _is_found_by_import(package / "__init__.py")


def _makes_an_app(main: Path) -> bool:
    """Read and not imported: somebody's program may do its work when it is imported."""
    try:
        text = main.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return all(sign.search(text) for sign in _SIGNS_OF_AN_APP)


def _is_found_by_import(init: Path) -> bool:
    """Another one may be installed, or have been imported before: that one is no business of ours.

    It is asked before the import, for that would already run the other one's code.
    """
    try:
        found = find_spec(_PACKAGE)
    except ValueError:  # something in `sys.modules` that has come from no file
        return False
    origin = found.origin if found is not None else None
    return origin is not None and Path(origin).resolve() == init.resolve()
