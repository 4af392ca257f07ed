"""``worker doctor``: parse, call, print."""

from typing import Annotated

import typer

from uow.cli.app import Named, command, run_async, start_app


@command
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one object per finding.")] = False,
    named: Named = None,
) -> None:
    """Say what is wrong and what mends it: exit code 0 nothing, 1 something, 2 broken."""
    from uow.cli.show_findings import diagnose

    raise typer.Exit(run_async(diagnose(*start_app(named), as_json=as_json)))
