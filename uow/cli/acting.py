"""What the commands that act do: on ids, a line for each; by filter, a preview and its run."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import typer

from uow.acts.bulk import BulkActs, BulkView
from uow.acts.left import TEXTS, LeftAlone, Why
from uow.acts.pruning import prunable, prune_now
from uow.acts.single import Acts
from uow.app import AppParts
from uow.cli.actor import actor_here
from uow.cli.client import open_client
from uow.cli.intervene import id_of
from uow.cli.looking import redaction_for
from uow.cli.plain import plain
from uow.client import TaskClient
from uow.errors import InvalidArguments
from uow.questions.filters import TaskFilter
from uow.questions.redaction import Redaction
from uow.settings.environment import Settings
from uow.tasks.registry import default_registry

LOOK_SECONDS = 0.25

STILL_SECONDS = 15.0
"""Without any progress for so long, no worker seems to lead."""


async def act_on_ids(
    settings: Settings,
    name: str,
    ids: Sequence[str],
    options: Mapping[str, int],
    *,
    reason: str | None,
    as_json: bool,
) -> bool:
    """Act on tasks one by one; returns whether it was done to all."""
    went_well = True
    async with open_client(settings) as client:
        acts = Acts(client, default_registry, Redaction(settings.redact, default_registry))
        for task_id in [id_of(given) for given in ids]:
            left = await _do(acts, name, task_id, options, reason)
            _tell(task_id, name, left, as_json=as_json)
            went_well = went_well and left is None
    return went_well


async def retry_edited(
    app: AppParts,
    settings: Settings,
    task_id: str,
    args: str,
    reason: str | None,
    *,
    as_json: bool,
) -> bool:
    """Run one task again with other arguments; returns whether it does."""
    id_, given = id_of(task_id), _object(args)
    redaction = redaction_for(app, settings)
    async with open_client(settings) as client:
        acts = Acts(client, default_registry, redaction)
        left = await acts.retry(id_, actor_here(), reason, args=given)
    _tell(id_, "retry", left, as_json=as_json)
    return left is None


async def act_by_filter(
    settings: Settings,
    name: str,
    words: Sequence[tuple[str, str]],
    options: Mapping[str, int],
    *,
    yes: bool,
    reason: str | None,
    as_json: bool,
) -> bool:
    """Look at what an act would be done to; with `yes`, do it and wait for its end.

    Returns:
        Whether it has ended by itself; and without `yes`, true.
    """
    which = TaskFilter.read(words)
    async with open_client(settings) as client:
        acts = BulkActs(client)
        view = await acts.preview(name, which, actor_here(), options=options, reason=reason)
        _show_preview(view, as_json=as_json)
        if not yes:
            if not as_json:
                typer.echo("nothing was done" + (": add --yes to do it" if view.row.count else ""))
            return True
        await acts.confirm(view.row.id, actor_here())
        return await _follow(client, view.row.id, as_json=as_json)


async def prune_all(settings: Settings, reason: str | None, *, dry_run: bool) -> None:
    """Remove what retention has ended for, or only count it, and print how many tasks it were."""
    async with open_client(settings) as client:
        if dry_run:
            found = await prunable(client)
            more = " or more" if found.more else ""
            typer.echo(f"{found.tasks}{more} would be removed")
            return
        typer.echo(f"{await prune_now(client, actor_here(), reason)} removed")


async def _do(
    acts: Acts, name: str, task_id: UUID, options: Mapping[str, int], reason: str | None
) -> LeftAlone | None:
    by = actor_here()
    match name:
        case "cancel":
            return await acts.cancel(task_id, by, reason)
        case "retry":
            return await acts.retry(task_id, by, reason)
        case "run-now":
            return await acts.run_now(task_id, by, reason)
        case "delete":
            return await acts.delete(task_id, by, reason)
    return await acts.set_priority(task_id, options["priority"], by, reason)


async def _follow(client: TaskClient, bulk_id: UUID, *, as_json: bool) -> bool:
    """Wait for a bulk act's end."""
    acts, seen, since = BulkActs(client), -1, time.monotonic()
    while True:
        view = await acts.get(bulk_id)
        if view.row.ended_at is not None:
            _show_end(view, as_json=as_json)
            return view.state == "done"
        if view.row.looked_at != seen:
            seen, since = view.row.looked_at, time.monotonic()
        elif time.monotonic() - since > STILL_SECONDS:
            typer.echo(
                f"worker: {bulk_id} is confirmed and waits: no worker seems to run, which is to "
                "do it; it begins when one does",
                err=True,
            )
            return False
        await asyncio.sleep(LOOK_SECONDS)


def _show_preview(view: BulkView, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_as_json(view)))
        return
    row = view.row
    more = "" if row.is_exact else "more than "
    typer.echo(f"{row.act}: {more}{_tasks(row.count)}")
    for one in view.samples:
        typer.echo(f"  {one.id} {one.state:9} {plain(one.name)}")
    if row.count > len(view.samples):
        typer.echo("  …")


def _show_end(view: BulkView, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_as_json(view)))
        return
    row = view.row
    typer.echo(f"{view.state}: {row.act} of {_tasks(row.done)}")
    for why, said in row.left_alone.items():
        text = TEXTS[Why(why)] if why in {*Why} else why
        typer.echo(f"  {said['count']:,} left alone: {text} ({', '.join(said['ids'])})")
    if row.error:
        typer.echo(f"  {row.error}")


def _tasks(count: int) -> str:
    return f"{count:,} {'task' if count == 1 else 'tasks'}"


def _as_json(view: BulkView) -> dict[str, Any]:
    shown = {**asdict(view.row), "state": view.state, "samples": map(asdict, view.samples)}
    return json.loads(json.dumps(shown, default=_plain))  # type: ignore[no-any-return]


def _plain(value: object) -> object:
    return [*value] if isinstance(value, map) else str(value)


def _tell(task_id: UUID, name: str, left: LeftAlone | None, *, as_json: bool) -> None:
    if as_json:
        why = {} if left is None else {"why": left.why, "text": left.text}
        typer.echo(json.dumps({"id": str(task_id), "act": name, "done": left is None, **why}))
    elif left is None:
        typer.echo(f"{task_id} {name}: done")
    else:
        typer.echo(f"{task_id} left alone: {left.text}")


def _object(given: str) -> dict[str, Any]:
    try:
        found = json.loads(given)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArguments("--args is no JSON object, as '{\"order_id\": 8}'")
    return found
