"""The commands: parse, call, print. What they do is elsewhere."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, cast

import typer
from rich.console import Console

from worker.bench.plan import Measurement
from worker.bench.plan import Plan as BenchPlan
from worker.errors import InvalidOptions, WorkerError
from worker.execution.options import OptionValues, Unique
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
    unique: Annotated[
        str | None, typer.Option(help="Hold the key while `unsettled`, or only while `waiting`.")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="The queue.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9; higher runs first.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most.")] = None,
) -> None:
    """Enqueue one task and print its id."""
    from worker.cli.enqueue import enqueue_one, parse_arguments

    settings = start()
    options: OptionValues = {
        "delay": delay, "user_id": user_id, "unique_key": unique_key, "queue": queue,
        "priority": priority, "unique": cast("Unique", unique),
    }  # fmt: skip
    given = parse_arguments(arguments or [])
    run_async(enqueue_one(settings, name, given, options, wait=wait, timeout=timeout))


@command
def cancel(
    ids: Annotated[list[str], typer.Argument(help="Ids of tasks.", metavar="ID...")],
) -> None:
    """Cancel tasks: final at once, also while one runs."""
    from worker.cli.intervene import cancel_each

    if not run_async(cancel_each(start(), ids)):
        raise typer.Exit(1)


@command
def retry(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of tasks.", metavar="[ID]...")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every failed task …")] = False,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="Every cancelled task …")] = False,
    name: Annotated[str | None, typer.Option(help="… of this task function.")] = None,
    queue: Annotated[str | None, typer.Option(help="… of this queue.")] = None,
    user_id: Annotated[str | None, typer.Option(help="… of this user.")] = None,
    before: Annotated[
        str | None, typer.Option(help="… settled before, as 2030-01-31T12:00Z.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="… and so many at most.")] = None,
) -> None:
    """Run failed or cancelled tasks again, by their ids or by what they have in common."""
    from worker.cli.intervene import filter_of, retry_each, retry_matching

    which = filter_of(
        failed=failed, cancelled=cancelled, name=name, queue=queue, user_id=user_id,
        before=before, limit=limit,
    )  # fmt: skip
    if which and ids:
        raise InvalidOptions("give ids or a filter, not both")
    if which:
        run_async(retry_matching(start(), which))
    elif not run_async(retry_each(start(), ids or [])):
        raise typer.Exit(1)


@command
def demo(
    users: Annotated[
        Path | None, typer.Option(help="CSV file with the columns username and email.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
    chaos: Annotated[
        bool,
        typer.Option("--chaos", help="Meanwhile kill workers, empty Redis and restart Postgres."),
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Repeats the faults of another run with --chaos.")
    ] = None,
) -> None:
    """Show the main job on real input, with nothing installed and nothing configured."""
    import secrets

    from worker.demo import show

    if chaos and seed is None:
        seed = secrets.randbelow(2**32)
    if seed is not None and not chaos:
        raise typer.BadParameter("it needs --chaos", param_hint="--seed")
    raise typer.Exit(show(users, keep=keep, chaos_seed=seed))


class Baseline(StrEnum):
    """What `worker chaos` can run instead of this package."""

    ARQ = "arq"


@command
def chaos(
    tasks: Annotated[int, typer.Option(min=1, help="Tasks to enqueue.")] = 2000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 4,
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs of a worker.")] = 20,
    redis_losses: Annotated[int, typer.Option(min=0, help="Times that Redis forgets all.")] = 3,
    postgres_restarts: Annotated[int, typer.Option(min=0, help="Postgres crashes.")] = 2,
    stops: Annotated[int, typer.Option(min=0, help="Times that a worker is frozen.")] = 2,
    stop_seconds: Annotated[float, typer.Option(min=0, help="Seconds it is frozen.")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="Repeats the faults of another run.")] = None,
    baseline: Annotated[
        Baseline | None, typer.Option(help="Run this instead of us, to see the difference.")
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Seconds without progress after which what is left is stuck; "
            "default: 120, and 330 for arq, whose locks last 310.",
        ),
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Directory in which event log and worker logs are kept.")
    ] = None,
) -> None:
    """Kill workers, Redis and Postgres while tasks run; check that each ran exactly once."""
    import secrets

    from worker.chaos.plan import BASELINE_PATIENCE_SECONDS, PATIENCE_SECONDS, Plan
    from worker.chaos.show import chaos as run_chaos

    usual = PATIENCE_SECONDS if baseline is None else BASELINE_PATIENCE_SECONDS
    plan = Plan(
        seed=secrets.randbelow(2**32) if seed is None else seed,
        tasks=tasks, workers=workers, kills=kills, redis_losses=redis_losses,
        postgres_restarts=postgres_restarts, stops=stops, stop_seconds=stop_seconds,
        patience=patience or usual, baseline=baseline is Baseline.ARQ,
    )  # fmt: skip
    raise typer.Exit(run_chaos(plan, artifacts))


@command
def bench(
    jobs: Annotated[int, typer.Option(min=1, help="Tasks per measurement.")] = 3000,
    processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Tasks at once in each; default: as WORKER_CONCURRENCY says."),
    ] = None,
    payload_bytes: Annotated[
        int, typer.Option(min=0, help="Make the arguments of each task longer by this.")
    ] = 0,
    only: Annotated[
        list[Measurement] | None, typer.Option(help="Measure this alone; may be repeated.")
    ] = None,
    servers: Annotated[
        bool,
        typer.Option(
            "--servers",
            help="Measure the configured servers, in a schema and a queue of its own that are "
            "removed at the end; default: throwaway servers on this machine.",
        ),
    ] = False,
    stock: Annotated[bool, typer.Option("--stock", help="Measure the stock arq worker.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
) -> None:
    """Measure how many tasks this machine and its servers run, and how soon they start."""
    from worker.bench.show import bench as run_bench

    plan = BenchPlan(
        jobs=jobs, processes=processes, concurrency=concurrency, payload_bytes=payload_bytes,
        only=frozenset(only or Measurement), servers=servers, stock=stock,
    )  # fmt: skip
    raise typer.Exit(run_bench(plan, as_json=as_json))


__all__ = ["app"]
