"""``worker cron``: parse, call, print. What it does is in `uow.cli.schedules_by_hand`."""

from typing import Annotated

import typer

from uow.cli.app import app, command_of, run_async, start

group = typer.Typer(
    help="Schedules: look at them, pause, resume, run, preview.", no_args_is_help=True
)
app.add_typer(group, name="cron")

Name = Annotated[str, typer.Argument(help="The schedule's name, as `worker cron list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with moments in UTC.")]


@command_of(group)
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Those of every WORKER_APP.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every schedule with its next five times, in its zone and in UTC."""
    from uow.cli.schedules_by_hand import show_all

    run_async(show_all(start(), every_app=all_, as_json=as_json))


@command_of(group)
def show(name: Name, as_json: AsJson = False) -> None:
    """One schedule: what it says, how far it is, its latest ticks."""
    from uow.cli.schedules_by_hand import show_one

    run_async(show_one(start(), name, as_json=as_json))


@command_of(group)
def pause(name: Name) -> None:
    """Fire no tick until it is resumed."""
    from uow.cli.schedules_by_hand import pause

    run_async(pause(start(), name))


@command_of(group)
def resume(name: Name) -> None:
    """Go on with the next tick; what was due meanwhile is not run."""
    from uow.cli.schedules_by_hand import resume

    run_async(resume(start(), name))


@command_of(group)
def run(name: Name) -> None:
    """Run a schedule's task now and print the task's id; its ticks stay as they are."""
    from uow.cli.schedules_by_hand import run

    run_async(run(start(), name))


@command_of(group)
def preview(
    expression: Annotated[
        str, typer.Argument(help="As in @cron: '0 9 * * mon-fri', @daily, '@every 90 s'.")
    ],
    timezone: Annotated[str, typer.Option(help="Whose clocks are meant.")] = "UTC",
    since: Annotated[
        str | None, typer.Option("--from", help="Beginning of a span, as 2030-01-31T12:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Its end, not included.")] = None,
    as_json: AsJson = False,
) -> None:
    """Explain an expression and show its next runs, and those around the next clock change."""
    from uow.cli.preview import explain, print_span

    if since or until:
        print_span(expression, timezone, since, until, as_json=as_json)
    else:
        explain(expression, timezone, as_json=as_json)
