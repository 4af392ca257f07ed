"""``worker tasks show``."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

import typer
from pydantic_core import to_json

from uow.app import AppParts
from uow.cli.looking import open_database, redaction_for
from uow.cli.plain import plain
from uow.cli.preview import in_utc
from uow.errors import InvalidFilter, TaskNotFound
from uow.questions.one_task import Happened, OneAttempt, OneTask, look_at
from uow.settings.environment import Settings

_SHOWN_FIRST = ("id", "name", "state", "queue", "priority", "user_id", "unique_key", "args",
                "result", "progress", "attempt", "tries", "deaths", "worker")  # fmt: skip


async def show_one(app: AppParts, settings: Settings, given: str, *, as_json: bool) -> None:
    """Print all there is of one task.

    Raises:
        InvalidFilter: That is no id.
        TaskNotFound: It is not there.
    """
    task_id = _id(given)
    redaction = redaction_for(app, settings)
    async with open_database(settings) as db:
        found = await look_at(db, task_id, redaction)
    if found is None:
        raise TaskNotFound(f"Task id {task_id} not found")
    if as_json:
        typer.echo(to_json(asdict(found)).decode())
        return
    for line in _lines(found):
        typer.echo(plain(line))


def _id(given: str) -> UUID:
    try:
        return UUID(given)
    except ValueError:
        raise InvalidFilter(f"{given[:80]!r} is not the id of a task") from None


def _lines(task: OneTask) -> Iterator[str]:
    for name in _SHOWN_FIRST:
        if (value := getattr(task, name)) is not None:
            yield f"{name + ':':12} {_value(name, value)}"
    yield from _origin(task)
    yield "timeline:"
    yield from (f"  {_happened(one)}" for one in task.timeline)
    for one in task.attempts:
        yield from _attempt(one)


def _value(name: str, value: object) -> str:
    return to_json(value).decode() if name in ("args", "result", "progress") else str(value)


def _origin(task: OneTask) -> Iterator[str]:
    origin = task.origin
    if origin.schedule is not None:
        yield f"schedule:    {origin.schedule}, tick {_moment(origin.tick)}"
    if origin.job_id is not None:
        yield f"arq job:     {origin.job_id}"
    if origin.trace_id is not None:
        yield f"trace:       {origin.trace_id}"
    if origin.headers:
        yield f"headers:     {to_json(dict(origin.headers)).decode()}"


def _happened(one: Happened) -> str:
    attempt = "" if one.attempt is None else f", attempt {one.attempt}"
    error = "" if one.error_type is None else f": {one.error_type}"
    return f"{in_utc(one.at)} {one.what}{attempt}{error}"


def _attempt(one: OneAttempt) -> Iterator[str]:
    waited = "" if one.waited is None else f", waited {one.waited:.3f} s"
    ran = "" if one.ran is None else f", ran {one.ran:.3f} s"
    yield f"attempt {one.attempt}: {one.end}, by {one.worker or 'nobody known'}{waited}{ran}"
    if one.error_type is not None:
        yield f"  {one.error_type}: {one.message}"
        yield from (f"  {line}" for line in (one.traceback or "").splitlines())


def _moment(at: datetime | None) -> str:
    return "-" if at is None else in_utc(at)
