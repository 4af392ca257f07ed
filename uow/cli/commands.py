"""The commands of a service: parse, call, print. What they do is elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from uow.cli import completion
from uow.cli.app import Named, command, run_async, start, start_app
from uow.errors import InvalidOptions

if TYPE_CHECKING:
    from uow.tasks.options import OptionValues, Unique


@command
def migrate(
    down: Annotated[
        str | None,
        typer.Option(
            help="Go back to this revision; `base` removes every table, the App's included."
        ),
    ] = None,
    move_from: Annotated[
        str | None,
        typer.Option(help="First move our tables here from this schema; no worker may live."),
    ] = None,
    rewrite: Annotated[
        bool,
        typer.Option("--rewrite", help="Also where more than 1,000,000 tasks are written anew."),
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Only print the statements; connect to nothing.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", help="With --sql: the revision that our tables are at; default: none yet."
        ),
    ] = None,
    named: Named = None,
) -> None:
    """Create or upgrade our tables, then the App's (safe in several processes at once)."""
    from uow.cli.migrate import migrate, print_statements

    if sum((down is not None, move_from is not None, sql)) > 1:
        raise InvalidOptions("--down, --move-from and --sql exclude each other")
    if since is not None and not sql:
        raise InvalidOptions("--from needs --sql: tables that are there say themselves where it is")
    if sql:
        print_statements(*start_app(named), since)
        return
    run_async(migrate(*start_app(named), down=down, move_from=move_from, rewrite=rewrite))


@command
def run(
    what: Annotated[
        str | None,
        typer.Argument(
            help="An App, as module:name; or anybody's arq settings class, as module.Name (or with "
            "a colon), to run its functions instead.",
            metavar="[SETTINGS]",
        ),
    ] = None,
    stock: Annotated[bool, typer.Option("--stock", help="Use the stock arq worker.")] = False,
    burst: Annotated[
        bool | None, typer.Option("--burst/--no-burst", help="End when nothing is due.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Tasks that run at once in one process.")
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(help="A queue to serve, as NAME or NAME=WEIGHT; repeatable."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Run so many processes; replace those that crash.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Restart when a Python file changes (development).")
    ] = False,
    watch_dir: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Directory to --watch (implied)."),
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Let SETTINGS read jobs with pickle.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether such a worker lives: exit code 0.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log from DEBUG on.")] = False,
    custom_log_dict: Annotated[
        str | None, typer.Option(help="Configure logging with the dict at this module.NAME.")
    ] = None,
) -> None:
    """Run tasks until told to stop."""
    from uow.cli.supervised import run_supervised, told_apart

    if not check and (processes or watch or watch_dir):
        watched = watch_dir or (Path() if watch else None)
        level = {"log_level": "DEBUG"} if verbose else {}
        raise typer.Exit(run_supervised(what, processes or 1, watched, burst=bool(burst), **level))
    app_name, arq_settings = told_apart(what)
    from uow.cli.start_worker import check_worker, log_configuration, run_app, run_arq_class

    configure_log = log_configuration(verbose=verbose, custom_log_dict=custom_log_dict)
    if check:
        raise typer.Exit(check_worker(app_name, arq_settings, configure_log))
    if arq_settings is None:
        run_app(
            app_name, configure_log, stock=stock, burst=bool(burst),
            concurrency=concurrency, queues=queue or [], allow_pickle=allow_pickle,
        )  # fmt: skip
    else:
        run_arq_class(
            arq_settings, configure_log, stock=stock, burst=burst,
            concurrency=concurrency, queues=queue or [], allow_pickle=allow_pickle,
        )  # fmt: skip


@command
def check(
    pids: Annotated[
        list[int] | None, typer.Argument(help="These processes alone.", metavar="[PID]...")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="Those that serve this queue.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say whether the worker processes of this host are well: exit code 0, else 1."""
    from uow.process.check import Asked, app_of_environment
    from uow.process.check import check as check_all

    asked = Asked(tuple(pids or ()), queue, app_of_environment(), as_json)
    raise typer.Exit(check_all(asked))


@command
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    root_path: Annotated[
        str | None, typer.Option(help="Path under which a proxy serves it, as /worker.")
    ] = None,
    named: Named = None,
) -> None:
    """Serve the HTTP API, and its pages at /ui/."""
    from uow.api.server import serve
    from uow.app import look_for_app

    found = look_for_app(named)
    said = {} if root_path is None else {"api_root_path": root_path}
    # It configures the log, after the application.
    serve(
        found.app.load_settings(**said), host, port,
        application=found.app, announce=found.tell,
    )  # fmt: skip


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
        str | None,
        typer.Option(
            help="Hold the key while `unsettled`, or only while `waiting`.",
            autocompletion=completion.unique,
        ),
    ] = None,
    queue: Annotated[str | None, typer.Option(help="The queue.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9; higher runs first.")] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(help="What travels with it, as key=value; may be repeated."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to --wait at most; default: as long as it takes."),
    ] = None,
    named: Named = None,
) -> None:
    """Enqueue one task and print its id; its module is the App's or in WORKER_TASK_MODULES."""
    from uow.cli.enqueue import enqueue_one, load_tasks, parse_arguments

    app, settings = start_app(named)
    options: OptionValues = {
        "delay": delay, "user_id": user_id, "unique_key": unique_key, "queue": queue,
        "priority": priority, "unique": cast("Unique", unique),
        "headers": parse_arguments(header) if header else None,
    }  # fmt: skip
    given = parse_arguments(arguments or [])
    load_tasks(app, settings, name)
    run_async(enqueue_one(settings, name, given, options, wait=wait, timeout=timeout))


@command
def cancel(
    ids: Annotated[list[str], typer.Argument(help="Ids of tasks.", metavar="ID...")],
) -> None:
    """Cancel tasks: final at once, also while one runs."""
    from uow.cli.intervene import cancel_each

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
    from uow.cli.intervene import filter_of, retry_each, retry_matching

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
