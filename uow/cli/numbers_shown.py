"""Prints what `uow.questions.numbers` and its neighbours answer."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from uow.cli.client import open_client
from uow.cli.plain import plain
from uow.questions.failures import FailureCount, failures, hours_of
from uow.questions.loads import Load
from uow.questions.number import Number, Percentiles, Rates
from uow.questions.numbers import name_loads, queue_loads
from uow.questions.user import UserNumbers, user_numbers
from uow.questions.users import newest_users_of
from uow.settings.environment import Settings

NOTHING = "-"

LEAST_WIDTH = 160
"""Characters; where a line is shorter, the terminal breaks it."""

_COLUMNS = ("waiting", "oldest", "later", "running", "in Redis", "ended/min", "in 1 h", "not done",
            "wait p50 p95 p99", "run p50 p95 p99")  # fmt: skip

_EXPLAINED = "10,000+: there may be more; what has ended is from the rollup, half a minute old"


async def show_queues(settings: Settings, *, name: str | None, as_json: bool) -> None:
    """Print the queues."""
    async with open_client(settings) as client:
        found = await queue_loads(client.db, settings.dead_after, client.redis, name=name)
    _print_loads("queue", found, as_json=as_json)


async def show_names(settings: Settings, *, queue: str | None, as_json: bool) -> None:
    """Print the task functions."""
    async with open_client(settings) as client:
        found = await name_loads(client.db, settings.dead_after, queue=queue)
    _print_loads("name", found, as_json=as_json)


async def show_users(settings: Settings, *, as_json: bool) -> None:
    """Print whose the newest tasks are."""
    async with open_client(settings) as client:
        found = await newest_users_of(client.db)
    if as_json:
        _print_lines(found.users)
        return
    _print_table(
        ("user", "tasks", "not settled", "running", "failed"),
        (
            (
                plain(one.user_id or ""),
                *map(str, (one.tasks, one.unsettled, one.running, one.failed)),
            )
            for one in found.users
        ),
    )
    which = "all there are" if found.are_all else "the newest"
    typer.echo(f"of {found.looked_at:,} tasks, {which}; {found.of_nobody:,} are nobody's")


async def show_user(settings: Settings, user: str, *, as_json: bool) -> None:
    """Print a user's numbers."""
    async with open_client(settings) as client:
        found = await user_numbers(client.db, user)
    if as_json:
        _print_lines([found])
        return
    for label, value in _said(found).items():
        typer.echo(f"{label + ':':14} {value}")


async def show_failures(
    settings: Settings,
    since: str,
    by: Literal["error", "name", "hour"],
    *,
    error: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Print what attempts have failed by."""
    hours = hours_of(since)
    async with open_client(settings) as client:
        found = await failures(client.db, by, hours=hours, error=error, name=name)
    if as_json:
        _print_lines(found)
    elif not found:
        typer.echo(f"nothing has failed in the last {hours} h (whole hours of UTC)")
    else:
        rows = [_failure(one) for one in found]
        _print_table((by, "failed", "types", "names", "first hour", "last hour"), rows)


def _print_loads(what: str, found: Sequence[Load], *, as_json: bool) -> None:
    if as_json:
        _print_lines(found)
    elif not found:
        typer.echo("nothing waits, runs, or has ended within a day")
    else:
        _print_table((what, *_COLUMNS), [_load(one) for one in found])
        typer.echo(_EXPLAINED)


def _load(one: Load) -> tuple[str, ...]:
    minute, hour = one.rates.get("minute"), one.rates.get("hour")
    return (
        one.name,
        str(one.waiting),
        _seconds(one.oldest_seconds),
        str(one.later),
        str(one.running),
        NOTHING if one.in_redis is None else str(one.in_redis),
        f"{sum(minute.ended.values()):,}" if minute else "0",
        f"{sum(hour.ended.values()):,}" if hour else "0",
        _not_done(hour),
        _percentiles(hour.waited) if hour else NOTHING,
        _percentiles(hour.ran) if hour else NOTHING,
    )


def _not_done(rates: Rates | None) -> str:
    """What has ended in another way than by being completed: how, and how many."""
    ended = {} if rates is None else rates.ended
    others = [f"{n:,} {how}" for how, n in sorted(ended.items()) if how != "completed"]
    return ", ".join(others) or NOTHING


def _failure(one: FailureCount) -> tuple[str, ...]:
    key = one.key if isinstance(one.key, str) else f"{one.key:%Y-%m-%d %H:%MZ}"
    first, last = f"{one.since:%Y-%m-%d %H:%MZ}", f"{one.latest:%Y-%m-%d %H:%MZ}"
    return key, str(one.failed), str(one.types), str(one.names), first, last


def _said(found: UserNumbers) -> dict[str, object]:
    return {
        "user": found.user_id,
        "looked at": f"{found.looked_at} newest tasks",
        "waiting": found.waiting,
        "oldest": _seconds(found.oldest_seconds),
        "later": found.later,
        "running": found.running,
        "states": _listed(found.states),
        "names": _listed(found.names),
        "not settled": _listed(found.backlog),
        **{f"per {span}": _ended(rates) for span, rates in found.rates.items()},
    }


def _listed(numbers: dict[str, Number]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items()) or NOTHING


def _ended(rates: Rates) -> str:
    ended = ", ".join(f"{n:,} {how}" for how, n in sorted(rates.ended.items()))
    return f"{ended}; waited {_percentiles(rates.waited)}, ran {_percentiles(rates.ran)}"


def _percentiles(those: Percentiles) -> str:
    return " ".join(_duration(one) for one in (those.p50, those.p95, those.p99))


def _seconds(number: Number | None) -> str:
    if number is None:
        return NOTHING
    return _duration(number.value) + ("+" if number.source == "capped" else "")


def _duration(seconds: float | None) -> str:
    """In the unit that makes it short."""
    if seconds is None:
        return NOTHING
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold" if place == 0 else "ellipsis")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, LEAST_WIDTH)  # a number that is cut is a wrong one
    console.print(table)


def _print_lines(those: Iterable[Any]) -> None:
    for one in those:
        typer.echo(to_json(one).decode())
