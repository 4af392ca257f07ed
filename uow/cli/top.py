"""``worker top``: the fleet at a glance, again and again."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from uow.cli.client import open_client
from uow.cli.fleet_shown import console_for_tables, table_of
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.questions.glance import Glance, QueueAtAGlance, glance
from uow.settings.environment import Settings
from uow.telemetry.description import one_line

REFRESH_SECONDS = 2.0
"""Between two looks: they cost the servers some milliseconds, and this process less than a fiftieth
of a core."""


async def show_top(settings: Settings, *, once: bool) -> None:
    """Show it until somebody ends the command; or print it once."""
    console = console_for_tables()
    async with open_client(settings) as client:
        if once:
            console.print(_shown(await glance(client.db, settings.dead_after)))
        else:
            await _go_on(client.db, settings.dead_after, console)


async def _go_on(db: Database, dead_after: float, console: Console) -> None:
    with _screen(console) as show:
        while True:
            show(await _look(db, dead_after))
            await asyncio.sleep(REFRESH_SECONDS)


@contextmanager
def _screen(console: Console) -> Iterator[Callable[[Group], None]]:
    """What shows the next look in the place of the last; in a file or a pipe it is below it."""
    if not console.is_terminal:
        yield console.print
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield lambda seen: live.update(seen, refresh=True)


async def _look(db: Database, dead_after: float) -> Group:
    """What there is to be seen; a Postgres that is away is seen, too."""
    try:
        return _shown(await glance(db, dead_after))
    except PASSING as error:
        return Group(Text(f"{_now()}  Postgres does not answer: {one_line(error)}"))


def _shown(seen: Glance) -> Group:
    more = "; there are more tasks than were counted" if seen.capped else ""
    beyond = " or more: not all of what they run is shown" if seen.workers_capped else ""
    noun = "worker" if len(seen.workers) == 1 else "workers"
    line = f"{_now()}  {len(seen.workers)} {noun}{beyond}{more}"
    return Group(Text(line), Text(), _queues(seen), Text(), table_of(seen.workers))


def _queues(seen: Glance) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("queue", overflow="fold")
    for column in ("waiting", "running", "later", "oldest"):
        table.add_column(column, justify="right")
    for one in seen.queues:
        table.add_row(Text(one.queue), *_numbers(one))
    return table


def _numbers(one: QueueAtAGlance) -> list[str]:
    oldest = "-" if one.oldest_seconds is None else f"{one.oldest_seconds:.0f} s"
    return [f"{one.waiting:,}", f"{one.running:,}", f"{one.later:,}", oldest]


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
