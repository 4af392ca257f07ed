"""``worker cron list``, ``show``, ``pause``, ``resume`` and ``run``."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from uow.acts.schedules import ScheduleActs
from uow.cli.actor import actor_here
from uow.cli.client import open_client
from uow.cli.preview import in_utc, in_zone
from uow.client import TaskClient
from uow.schedules.by_hand import ScheduleView, TickView
from uow.schedules.wallclock import wall_clock
from uow.settings.environment import Settings

NOTHING = "-"


async def show_all(settings: Settings, *, every_app: bool, as_json: bool) -> None:
    """Print every schedule with its next five times."""
    async with open_client(settings) as client:
        found = await client.schedules.all(every_app=every_app)
    if as_json:
        _print_json([_as_json(one) for one in found])
    elif not found:
        typer.echo("there are no schedules: a worker registers those of its task modules")
    else:
        _print_table(found, every_app=every_app)


async def show_one(settings: Settings, name: str, *, as_json: bool) -> None:
    """Print one schedule and its latest ticks."""
    async with open_client(settings) as client:
        found = await client.schedules.get(name)
        ticks = await client.schedules.ticks(name)
    if as_json:
        _print_json({**_as_json(found), "ticks": [asdict(tick) for tick in ticks]})
        return
    for label, value in _said(found).items():
        typer.echo(f"{label + ':':14} {value}")
    typer.echo("next:" if found.state == "active" else f"next: none, it is {found.state}")
    for tick in found.coming():
        typer.echo(f"  {in_zone(tick, wall_clock(found.definition.timezone)):30} {in_utc(tick)}")
    typer.echo("latest ticks:")
    for one in ticks:
        typer.echo(f"  {_fate(one)}")


async def pause(settings: Settings, name: str) -> None:
    """Pause one schedule."""
    async with open_client(settings) as client:
        await _acts(client).pause(name)
    typer.echo(f"{name} is paused; `worker cron resume {name}` lets it go on")


async def resume(settings: Settings, name: str) -> None:
    """Resume one schedule."""
    async with open_client(settings) as client:
        following = await _acts(client).resume(name)
    typer.echo(f"{name} goes on: next at {in_utc(following) if following else 'no time'}")


async def run(settings: Settings, name: str) -> None:
    """Run one schedule's task now."""
    async with open_client(settings) as client:
        typer.echo(str((await _acts(client).run(name)).id))


def _acts(client: TaskClient) -> ScheduleActs:
    return ScheduleActs(client.db, client.settings.app, actor_here())


def _print_table(found: list[ScheduleView], *, every_app: bool) -> None:
    table = Table(show_lines=True)
    table.add_column("schedule", overflow="fold")  # a name is there to be copied
    for column in ("next", "next in UTC"):
        table.add_column(column, no_wrap=True)
    for one in found:
        clock, coming = wall_clock(one.definition.timezone), one.coming()
        table.add_row(
            _in_short(one, every_app=every_app),
            "\n".join(in_zone(tick, clock) for tick in coming) or NOTHING,
            "\n".join(in_utc(tick) for tick in coming) or NOTHING,
        )
    Console(highlight=False, markup=False).print(table)


def _in_short(one: ScheduleView, *, every_app: bool) -> str:
    """Name, expression and how far it is: five lines at most."""
    lines = [
        f"{one.app}: {one.name}" if every_app else one.name,
        f"{one.definition.expression}  {one.definition.timezone}",
        one.state,
    ]
    if one.last_tick is not None:
        lines.append(f"last {in_utc(one.last_tick)}")
    if one.last_outcome is not None:
        lines.append(f"last task {one.last_outcome}")
    return "\n".join(lines)


def _said(one: ScheduleView) -> dict[str, object]:
    definition = one.definition
    said: dict[str, object] = {
        "schedule": one.name,
        "app": one.app,
        "state": one.state,
        "task": definition.task,
        "arguments": definition.arguments,
        "when": f"{definition.expression}: {definition.timetable.explain()}",
        "missed": f"{definition.missed}, grace {definition.grace:g} s",
        "overlap": definition.overlap,
        "jitter": f"{definition.jitter:g} s",
        "queue": definition.queue,
        "last tick": in_utc(one.last_tick) if one.last_tick else "never",
        "last task": f"{one.last_task_id} {one.last_outcome}" if one.last_task_id else "none",
        "waiting": f"{one.waiting} ticks",
    }
    if one.missed is not None:
        said["last missed"] = " to ".join(in_utc(moment) for moment in one.missed)
    return said


def _fate(one: TickView) -> str:
    until = f" to {in_utc(one.until)}" if one.until else ""
    task = f" {one.task_id} {one.state or 'pruned'}" if one.task_id else ""
    late = (one.noted_at - one.tick).total_seconds()
    after = f" after {late:.1f} s" if one.fate == "fired" else ""
    return f"{in_utc(one.tick)}{until} {one.fate}{after}{task}"


def _as_json(one: ScheduleView) -> dict[str, Any]:
    view = asdict(one)
    return {**view, "arguments": one.arguments, "next": one.coming()}


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
