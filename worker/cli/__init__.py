"""The commands: parse, call, print. What they do is elsewhere."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from worker.errors import WorkerError
from worker.execution.options import OptionValues
from worker.settings import Settings, load_settings
from worker.telemetry import logs

P = ParamSpec("P")
T = TypeVar("T")

app = typer.Typer(
    name="worker",
    help="A background worker in which every task is a unit of work.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
EXTRAS = {"alembic": "run", "httpx": "run", "aiosmtplib": "run", "fastapi": "api",
          "starlette": "api", "uvicorn": "api", "aiosmtpd": "demo"}  # fmt: skip
"""What an optional dependency comes with."""

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def command(function: Callable[P, T]) -> Callable[P, T]:
    """Register a command whose errors are one line and exit code 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if str(Path.cwd()) not in sys.path:  # as arq does: your modules are where you stand
            sys.path.insert(0, str(Path.cwd()))
        try:
            return function(*args, **kwargs)
        except (WorkerError, TimeoutError) as error:
            _tell(error)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in EXTRAS:
                raise
            extra = EXTRAS[error.name.partition(".")[0]]
            _tell(f"{error.name} is not installed: pip install 'uow-worker[{extra}]'")
        raise typer.Exit(1)

    app.command(name=function.__name__.removesuffix("_"))(run)
    return run


def _tell(error: object) -> None:
    errors.print("[red]worker:[/red]", end=" ")
    errors.print(str(error), markup=False)


def start() -> Settings:
    """Settings, with the log configured as they say."""
    settings = load_settings()
    logs.configure(settings.log_level)
    return settings


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end."""
    return asyncio.run(work)


@command
def migrate(
    down: Annotated[
        str | None, typer.Option(help="Go back to this revision; `base` removes every table.")
    ] = None,
) -> None:
    """Create or upgrade our tables (safe to run in several processes at once)."""
    from worker.db import migrations
    from worker.db.database import Database
    from worker.services.readiness import wait_for_postgres

    settings = start()
    logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

    async def work() -> None:
        async with Database.from_settings(settings.require_database()) as db:
            await wait_for_postgres(db, settings.connect_timeout)
            if down is None:
                await migrations.upgrade(db, builtin_tasks=settings.builtin_tasks)
            else:
                await migrations.downgrade(db, down)

    run_async(work())
    typer.echo(f'schema "{settings.database_schema}" is at {down or "the newest revision"}')


@command
def run(
    stock: Annotated[bool, typer.Option("--stock", help="Use the stock arq worker.")] = False,
    burst: Annotated[bool, typer.Option("--burst", help="End when nothing is due.")] = False,
) -> None:
    """Run tasks until told to stop."""
    from worker.main import run_stock

    _ = stock  # until the fast worker is there, every worker is a stock one
    run_stock(start(), burst=burst)


@command
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Serve the HTTP API."""
    from worker.api.server import serve

    serve(start(), host, port)


@command
def enqueue(
    name: Annotated[str, typer.Argument(help="The task function's name.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Arguments as key=value.", metavar="[KEY=VALUE]...")
    ] = None,
    delay: Annotated[float | None, typer.Option(help="Seconds until it is due.")] = None,
    user_id: Annotated[str | None, typer.Option(help="The user it belongs to.")] = None,
    unique_key: Annotated[str | None, typer.Option(help="At most one unsettled task.")] = None,
    queue: Annotated[str | None, typer.Option(help="The queue.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9; higher runs first.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most.")] = None,
) -> None:
    """Enqueue one task and print its id."""
    from worker.cli.enqueue import enqueue_one, parse_arguments

    settings = start()
    options: OptionValues = {
        "delay": delay, "user_id": user_id, "unique_key": unique_key, "queue": queue,
        "priority": priority,
    }  # fmt: skip
    given = parse_arguments(arguments or [])
    run_async(enqueue_one(settings, name, given, options, wait=wait, timeout=timeout))


@command
def demo(
    users: Annotated[
        Path | None, typer.Option(help="CSV file with the columns username and email.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
) -> None:
    """Show the main job on real input, with nothing installed and nothing configured."""
    from worker.demo import show

    raise typer.Exit(show(users, keep=keep))


__all__ = ["app"]
