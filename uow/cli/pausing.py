"""``worker queues pause`` and the like: parse, call, print."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from uow.cli import groups
from uow.cli.app import command, command_of, run_async, start
from uow.errors import InvalidOptions

if TYPE_CHECKING:
    from uow.acts.pauses import Pausable
    from uow.db.pauses import Kind, StoredPause
    from uow.settings.environment import Settings

Targets = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")]
Reason = Annotated[str | None, typer.Option(help="Why, for the audit and for who asks.")]
Until = Annotated[
    str | None,
    typer.Option(help="When it ends by itself, as 2h or 2030-01-31T12:00Z; default: at `resume`."),
]
All = Annotated[bool, typer.Option("--all", help="Everything, whatever its queue.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one object per line.")]


@command_of(groups.queues, "pause")
def pause_queues(
    queues: Targets = None, reason: Reason = None, until: Until = None, all_: All = False
) -> None:
    """Claim nothing from a queue, or from any, until it is resumed; what runs goes on."""
    run_async(_pause(start(), _queues(queues, everything=all_), reason, until))


@command_of(groups.queues, "resume")
def resume_queues(queues: Targets = None, reason: Reason = None, all_: All = False) -> None:
    """End the pause of a queue, or that of everything."""
    _resume(_queues(queues, everything=all_), reason)


@command_of(groups.names, "pause")
def pause_names(names: Targets = None, reason: Reason = None, until: Until = None) -> None:
    """Start no task of a function until it is resumed; what runs goes on."""
    run_async(_pause(start(), _those("name", names), reason, until))


@command_of(groups.names, "resume")
def resume_names(names: Targets = None, reason: Reason = None) -> None:
    """End the pause of a function."""
    _resume(_those("name", names), reason)


@command_of(groups.users, "pause")
def pause_users(users: Targets = None, reason: Reason = None, until: Until = None) -> None:
    """Start no task of a user until they are resumed; what runs goes on."""
    run_async(_pause(start(), _those("user", users), reason, until))


@command_of(groups.users, "resume")
def resume_users(users: Targets = None, reason: Reason = None) -> None:
    """End the pause of a user."""
    _resume(_those("user", users), reason)


@command
def pauses(as_json: AsJson = False) -> None:
    """What is paused, by whom, why, and until when."""
    run_async(_show(start(), as_json=as_json))


def _those(kind: "Kind", targets: Sequence[str] | None) -> "list[Pausable]":
    from uow.acts.pauses import Pausable

    if not targets:
        raise InvalidOptions(f"say which {kind}")
    return [Pausable(kind, target) for target in targets]


def _queues(targets: Sequence[str] | None, *, everything: bool) -> "list[Pausable]":
    from uow.acts.pauses import Pausable

    if everything and targets:
        raise InvalidOptions("--all means everything: name no queue beside it")
    return [Pausable("everything")] if everything else _those("queue", targets)


async def _pause(
    settings: "Settings", those: "list[Pausable]", reason: str | None, until: str | None
) -> None:
    from uow.acts.pauses import pause
    from uow.cli.actor import actor_here
    from uow.cli.client import open_client
    from uow.questions.moments import moment_ahead

    now = datetime.now(UTC)
    end = None if until is None else moment_ahead("until", until, now)
    async with open_client(settings) as client:
        for one in those:
            await pause(client.db, one, actor_here(), reason=reason, until=end)
            typer.echo(f"{one} paused")


def _resume(those: "list[Pausable]", reason: str | None) -> None:
    if not run_async(_resume_all(start(), those, reason)):
        raise typer.Exit(1)


async def _resume_all(settings: "Settings", those: "list[Pausable]", reason: str | None) -> bool:
    from uow.acts.pauses import resume
    from uow.cli.actor import actor_here
    from uow.cli.client import open_client

    were_paused = True
    async with open_client(settings) as client:
        for one in those:
            resumed = await resume(client.db, one, actor_here(), reason=reason)
            typer.echo(f"{one} {'resumed' if resumed else 'is not paused'}")
            were_paused &= resumed
    return were_paused


async def _show(settings: "Settings", *, as_json: bool) -> None:
    from pydantic_core import to_json

    from uow.cli.client import open_client
    from uow.db.pauses import pauses

    async with open_client(settings) as client:
        found = await pauses(client.db)
    for one in found:
        told = {
            "kind": one.kind, "target": one.target, "reason": one.reason, "by": one.paused_by,
            "since": one.paused_at, "until": one.until,
        }  # fmt: skip
        typer.echo(to_json(told).decode() if as_json else _line(one))
    if not found and not as_json:
        typer.echo("nothing is paused")


def _line(one: "StoredPause") -> str:
    from uow.cli.plain import plain
    from uow.cli.preview import in_utc

    end = f" until {in_utc(one.until)}" if one.until else ""
    why = f": {plain(one.reason)}" if one.reason else ""
    what = f"{one.kind} {plain(one.target)}".strip()
    return f"{what} since {in_utc(one.paused_at)}{end}, by {plain(one.paused_by)}{why}"
