"""``worker tasks why``, ``worker workers`` and ``worker top``: parse, call, print."""

import contextlib
from typing import Annotated

import typer

from uow.cli import groups
from uow.cli.app import command, command_of, run_async, start

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, an object per line, with moments in UTC.")
]


@command_of(groups.tasks)
def why(
    task_id: Annotated[str, typer.Argument(help="The task's id.", metavar="ID")],
    as_json: AsJson = False,
) -> None:
    """Why a task waits: the first reason that is true now."""
    from uow.cli.fleet_shown import show_why

    run_async(show_why(start(), task_id, as_json=as_json))


@command
def workers(as_json: AsJson = False) -> None:
    """The workers there are: what each is, how it is, what it runs since when."""
    from uow.cli.fleet_shown import show_workers

    run_async(show_workers(start(), as_json=as_json))


@command
def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
) -> None:
    """What waits in each queue and what each worker runs, live; Ctrl-C ends it."""
    from uow.cli.top import show_top

    with contextlib.suppress(KeyboardInterrupt):
        run_async(show_top(start(), once=once))
