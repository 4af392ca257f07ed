"""``worker tasks list`` and ``worker tasks tail``."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import typer
from pydantic_core import to_json

from uow.app import AppParts
from uow.cli.looking import open_database, redaction_for
from uow.cli.plain import plain
from uow.cli.preview import in_utc
from uow.db.listing import Direction, ListedTask
from uow.questions.filters import TaskFilter
from uow.questions.lists import MOST, TaskLists, TaskPage
from uow.settings.environment import Settings

PAUSE_SECONDS = 1.0
"""Between two looks of ``tail``."""

FIELDS = ("id", "name", "state", "queue", "user_id", "created_at", "run_at", "settled_at", "tries",
          "attempt")  # fmt: skip
"""What ``--json`` prints of a task in a list."""

_HEADINGS = ("id", "state", "asked for", "settled", "name", "tries", "queue", "user")

Words = Sequence[tuple[str, str]]


async def show_list(
    app: AppParts,
    settings: Settings,
    words: Words,
    *,
    limit: int,
    after: str | None,
    order: Direction,
    as_json: bool,
) -> None:
    """Print the tasks that are meant, and where the list goes on.

    Raises:
        InvalidFilter: A word or a value does not fit.
    """
    wanted = TaskFilter.read(words)
    redaction = redaction_for(app, settings)
    async with open_database(settings) as db:
        page = await TaskLists(db, redaction).page(wanted, limit=limit, order=order, after=after)
    if as_json:
        for task in page.tasks:
            typer.echo(in_one_line(task))
    elif page.tasks:
        for line in _lines(page.tasks):
            typer.echo(line)
    for line in _said_of(page):
        typer.echo(line, err=as_json)


async def follow(
    app: AppParts,
    settings: Settings,
    words: Words,
    *,
    as_json: bool,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Print a line for each of the newest tasks that appears, or is in another state than before.

    Args:
        pause: Waits for so many seconds between two looks.

    Raises:
        InvalidFilter: A word or a value does not fit.
    """
    wanted = TaskFilter.read(words)
    redaction = redaction_for(app, settings)
    told = in_one_line if as_json else _in_short
    async with open_database(settings) as db:
        lists = TaskLists(db, redaction)
        known = {_standing(task) for task in (await lists.page(wanted, limit=MOST)).tasks}
        while True:
            await pause(PAUSE_SECONDS)
            page = await lists.page(wanted, limit=MOST)
            for task in reversed(page.tasks):
                if _standing(task) not in known:
                    typer.echo(told(task))
            known = {_standing(task) for task in page.tasks}


def in_one_line(task: ListedTask) -> str:
    """A task as an object of JSON."""
    return to_json({name: getattr(task, name) for name in FIELDS}).decode()


def _standing(task: ListedTask) -> tuple[object, ...]:
    return task.id, task.state, task.attempt


def _lines(tasks: Sequence[ListedTask]) -> Iterator[str]:
    """A line for each: a terminal that is too narrow folds them, and they can be copied."""
    rows = [_HEADINGS, *map(_cells, tasks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def _cells(one: ListedTask) -> tuple[str, ...]:
    settled = "-" if one.settled_at is None else in_utc(one.settled_at)
    return (
        str(one.id), one.state, in_utc(one.created_at), settled, one.name, str(one.tries),
        one.queue, plain(one.user_id or "-"),
    )  # fmt: skip


def _in_short(task: ListedTask) -> str:
    user = f" of {task.user_id!r}" if task.user_id is not None else ""
    return f"{in_utc(task.created_at)} {task.id} {task.state} {task.name}{user} in {task.queue}"


def _said_of(page: TaskPage) -> list[str]:
    lines = []
    if page.looked_at is not None:
        down_to = f", down to {in_utc(page.looked_down_to)}" if page.looked_down_to else ""
        lines.append(f"looked at {page.looked_at:,} tasks{down_to}: there may be more")
    elif not page.tasks:
        lines.append("there are none")
    if page.next is not None:
        lines.append(f"the list goes on with --after {page.next}")
    return lines
