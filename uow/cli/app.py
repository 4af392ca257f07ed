"""What every command has: its registration, its errors in one line, its settings."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from uow.cli import completion
from uow.errors import WorkerError
from uow.settings.log_level import log_format, log_level
from uow.telemetry import logs

if TYPE_CHECKING:
    from uow.app import AppParts
    from uow.settings.environment import Settings

P = ParamSpec("P")
T = TypeVar("T")

app = typer.Typer(
    name="worker",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,  # values of options: `uow.cli.completion`
    rich_markup_mode=None,  # its imports take more time than all else of `worker --help`
)
EXTRAS = {"alembic": "run", "fastapi": "api", "starlette": "api", "uvicorn": "api",
          "watchfiles": "watch"}  # fmt: skip
"""What an optional dependency comes with."""

OF_THE_CLONE = dict.fromkeys(("aiosmtpd", "aiosmtplib", "httpx", "idna"), "--group demo")
"""What the application in a clone needs, and no extra of the library has."""

INSTALLED_BY = {one: f"'uow-worker[{extra}]'" for one, extra in EXTRAS.items()} | OF_THE_CLONE

Named = Annotated[
    str | None,
    typer.Option(
        "--app", help="The App, as module:name; default: the one that is here.", metavar="APP"
    ),
]


completion.tell_plainly()


def _tell_version(asked: bool) -> None:
    if asked:
        from uow.telemetry.release import release

        typer.echo(f"uow-worker {release() or 'of no release'}")
        raise typer.Exit


@app.callback()
def _options_of_all(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Tell the version."),
    ] = False,
) -> None:
    """A background worker in which every task is a unit of work."""


def command(function: Callable[P, T]) -> Callable[P, T]:
    """Register a command whose errors are one line and exit code 1."""
    return command_of(app)(function)


def command_of(
    group: typer.Typer, name: str | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Register a command of a group, in the same way; as its function is called, or as `name`."""
    return lambda function: _registered(group, function, name)


def _registered(
    group: typer.Typer, function: Callable[P, T], name: str | None = None
) -> Callable[P, T]:

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            _stand_here()
            return function(*args, **kwargs)
        except (WorkerError, TimeoutError) as error:
            _tell(error)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in INSTALLED_BY:
                raise
            _tell(f"{package} is not installed: pip install {INSTALLED_BY[package]}")
        raise typer.Exit(1)

    own = function.__name__.removesuffix("_").replace("_", "-")
    first, *_ = (function.__doc__ or "").split("\n\n")
    # The first sentence as a whole: typer's own would end in dots.
    group.command(name=name or own, short_help=first)(run)
    return run


def _stand_here() -> None:
    """Find your modules where you stand, as arq does.

    Raises:
        WorkerError: The current directory has been deleted, or may not be read.
    """
    try:
        here = str(Path.cwd())
    except OSError as error:
        raise WorkerError(
            f"the current directory cannot be used ({error.strerror}): change to one that is there"
        ) from None
    if here not in sys.path:
        sys.path.insert(0, here)


def _tell(error: object) -> None:
    from rich.console import Console

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.print("[red]worker:[/red]", end=" ")
    errors.print(str(error), markup=False)


def start(**overrides: Any) -> "Settings":
    """Settings of the application that is here, with our log configured as they say."""
    return start_app(None, **overrides)[1]


def start_app(named: str | None, **overrides: Any) -> "tuple[AppParts, Settings]":
    """The application of that name, or the one that is here, and `start` with its settings."""
    from uow.app import find_app

    found = find_app(named)
    return found, start_with(found, **overrides)


def start_with(app: "AppParts", **overrides: Any) -> "Settings":
    """`start` with the settings of this application."""
    settings = app.load_settings(**overrides)
    logs.configure(settings.log_level, settings.log_format)
    return settings


def start_for_arq(**overrides: Any) -> "Settings":
    """The defaults, with the log configured: for somebody's settings class.

    What else has our prefix in the environment may be its application's own.
    """
    from uow.settings.environment import GivenSettings

    given = {"log_level": log_level(), "log_format": log_format(), **overrides}
    settings = GivenSettings(**given)
    logs.configure(settings.log_level, settings.log_format)
    return settings


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end."""
    return asyncio.run(work)
