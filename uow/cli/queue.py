"""``worker queue``: parse, call, print."""

from typing import Annotated

import typer

from uow.cli.app import app, command_of, run_async, start

group = typer.Typer(help="Queues: whose they are.", no_args_is_help=True)
app.add_typer(group, name="queue")


@group.callback()
def _only_a_group() -> None: ...


@command_of(group)
def take_over(
    queues: Annotated[
        list[str] | None,
        typer.Argument(help="Their names; without any, those that a worker here would serve."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Though a worker of another database serves one now.")
    ] = False,
) -> None:
    """Make queues of this Redis this database's, after it was moved, restored or made anew."""
    from uow.cli.take_over_queue import take_over_each

    run_async(take_over_each(start(), queues or [], force=force))
