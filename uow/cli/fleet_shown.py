"""``worker tasks why`` and ``worker workers``: what they print."""

from dataclasses import asdict
from datetime import UTC, datetime
from uuid import UUID

import typer
from pydantic_core import to_json
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from uow.cli.client import open_client
from uow.errors import InvalidOptions
from uow.questions.why import why
from uow.questions.workers import MOST_RUNNING, MOST_WORKERS, ShownWorker, fleet
from uow.settings.environment import Settings

UNKNOWN = "?"
"""What a worker of an older version does not say."""

CAPPED = (
    f"capped: there are more than {MOST_WORKERS:,} workers, or they run more than "
    f"{MOST_RUNNING:,} tasks; the rest is not shown"
)

WIDE = 250
"""Characters of a line in a file or a pipe."""


async def show_why(settings: Settings, given: str, *, as_json: bool) -> None:
    """Print why a task waits."""
    async with open_client(settings) as client:
        reason = await why(client.db, client.redis, settings, _id(given))
    if as_json:
        typer.echo(to_json({"reason": reason.name, "text": reason.text}).decode())
    else:
        typer.echo(f"{reason.name}: {reason.text}")


async def show_workers(settings: Settings, *, as_json: bool) -> None:
    """Print every worker process."""
    async with open_client(settings) as client:
        seen = await fleet(client.db, settings.dead_after)
    found = seen.workers
    if as_json:
        for one in found:
            typer.echo(to_json(asdict(one)).decode())
    elif not found:
        typer.echo("there is no worker: start one with `worker run`")
    else:
        console_for_tables().print(table_of(found))
    if seen.capped:
        typer.echo(CAPPED, err=as_json)


def console_for_tables() -> Console:
    """Where tables go; what is no terminal has no width that a line would have to fit into."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def table_of(found: list[ShownWorker]) -> Group:
    """Two tables: the processes, and what they run."""
    now = datetime.now(UTC)
    processes = _table(
        "worker", "app", "queues", "slots", "lag", "pool", "heartbeat", "version", ""
    )
    runs = _table("worker", "runs", "id", "attempt", "for")
    for one in found:
        processes.add_row(*map(Text, _cells(one)))
        for task in one.running:
            seconds = f"{max((now - task.since).total_seconds(), 0):.0f} s"
            cells = (one.id, task.name, str(task.id), str(task.attempt), seconds)
            runs.add_row(*map(Text, cells))  # a name is text, and no markup
    return Group(processes, *([runs] if runs.row_count else []))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cells(one: ShownWorker) -> list[str]:
    pool = [one.pool_busy, one.pool_idle, one.pool_room]
    room = None if None in pool else sum(part for part in pool if part is not None)
    return [
        one.id,
        one.app,
        ", ".join(one.queues),
        f"{_known(one.busy)}/{_known(one.slots)}",
        UNKNOWN if one.lag is None else f"{one.lag:.1f} s",
        f"{_known(one.pool_busy)}/{_known(room)}",
        f"{one.heartbeat_age:.1f} s ago",
        _known(one.version),
        ", ".join(_notes(one)),
    ]


def _notes(one: ShownWorker) -> list[str]:
    said = {"leads": one.leads, "leaving": one.leaving, "dead": not one.lives}
    return [note for note, holds in said.items() if holds]


def _known(value: object) -> str:
    return UNKNOWN if value is None else str(value)


def _id(given: str) -> UUID:
    try:
        return UUID(given)
    except ValueError:
        raise InvalidOptions(f"{given!r} is not the id of a task") from None
