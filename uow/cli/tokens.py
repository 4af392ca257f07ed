"""``worker tokens``: the tokens of the HTTP API, in their file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from uow.api.roles import Role
from uow.cli.app import app, command_of, start
from uow.errors import SettingsError

group = typer.Typer(help="Tokens of the HTTP API: make, list, revoke.", no_args_is_help=True)
app.add_typer(group, name="tokens")

Name = Annotated[str, typer.Argument(help="Whose it is: the audit says so.")]
File = Annotated[
    Path | None, typer.Option(help="The file; default: WORKER_API_TOKENS_FILE.", dir_okay=False)
]


@command_of(group)
def new(
    name: Name,
    role: Annotated[Role, typer.Option(help="What it may do.")],
    file: File = None,
) -> None:
    """Make a token and print it, once; the file keeps its SHA-256. A running API takes it."""
    from uow.api import token_file

    place = _place(file)
    typer.echo(token_file.add(place, name, role))
    typer.echo(f"{name} is {role} in {place}; the token is shown this once", err=True)


@command_of(group)
def list_(
    file: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
) -> None:
    """Every token of the file: its name and its role."""
    from uow.api import token_file

    tokens, _ = token_file.read_or_refuse(_place(file))
    for token in tokens:
        known = {"name": token.name, "role": token.role}
        typer.echo(json.dumps(known) if as_json else f"{token.name}  {token.role}")


@command_of(group)
def revoke(name: Name, file: File = None) -> None:
    """Take a token away: a running API refuses it from its next request on."""
    from uow.api import token_file

    place = _place(file)
    token_file.remove(place, name)
    typer.echo(f"{name} is revoked in {place}")


def _place(given: Path | None) -> Path:
    place = given or start().api_tokens_file
    if place is None:
        raise SettingsError("which file? Say --file, or set WORKER_API_TOKENS_FILE")
    return place
