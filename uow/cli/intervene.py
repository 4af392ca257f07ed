"""``worker cancel`` and ``worker retry``: one line for each task."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypedDict
from uuid import UUID

import typer

from uow.acts.left import Why
from uow.acts.matching import MatchingRetry
from uow.acts.single import Acts
from uow.cli.actor import actor_here
from uow.cli.client import open_client
from uow.client import TaskClient
from uow.errors import InvalidOptions
from uow.questions.redaction import Redaction
from uow.settings.environment import Settings
from uow.tasks.interventions import Filter, Retryable
from uow.tasks.registry import default_registry


class FilterValues(TypedDict, total=False):
    """The keyword arguments of `Filter`."""

    name: str
    state: Retryable
    queue: str
    user_id: str
    settled_before: datetime
    limit: int


def filter_of(
    *,
    failed: bool,
    cancelled: bool,
    name: str | None,
    queue: str | None,
    user_id: str | None,
    before: str | None,
    limit: int | None,
) -> FilterValues:
    """What was given of a filter; empty: nothing.

    Raises:
        InvalidOptions: `before` is not a moment.
    """
    states: dict[tuple[bool, bool], Retryable] = {
        (True, False): "failed", (False, True): "cancelled", (True, True): "both",
    }  # fmt: skip
    values = {
        "name": name,
        "state": states.get((failed, cancelled)),
        "queue": queue,
        "user_id": user_id,
        "settled_before": None if before is None else _moment(before),
        "limit": limit,
    }
    return {key: value for key, value in values.items() if value is not None}  # type: ignore[return-value]


async def cancel_each(settings: Settings, ids: Sequence[str]) -> bool:
    """Cancel tasks and print what happened to each; returns whether all were cancelled."""
    async with open_client(settings) as client:
        acts = _acts(client, settings)

        async def cancel(task_id: UUID) -> str | None:
            left = await acts.cancel(task_id, actor_here())
            return None if left is None else await _state(client, task_id)

        return await _each(ids, cancel, "cancelled")


async def retry_each(settings: Settings, ids: Sequence[str]) -> bool:
    """Retry tasks and print what happened to each; returns whether all run again."""
    if not ids:
        raise InvalidOptions("say which: ids, --failed, --cancelled or another filter")
    async with open_client(settings) as client:
        acts = _acts(client, settings)

        async def retry(task_id: UUID) -> str | None:
            left = await acts.retry(task_id, actor_here())
            if left is not None and left.why is Why.KEY_TAKEN:
                return f"not retried: task {task_id} cannot run again: {left.text}"
            return None if left is None else await _state(client, task_id)

        return await _each(ids, retry, "retried")


async def retry_matching(settings: Settings, which: FilterValues) -> None:
    """Retry what a filter means and print how many."""
    async with open_client(settings) as client:
        count = await MatchingRetry(client, Filter(**which), actor_here()).run()
    typer.echo(f"{count} retried")


def _acts(client: TaskClient, settings: Settings) -> Acts:
    return Acts(client, default_registry, Redaction(settings.redact, default_registry))


async def _each(
    ids: Sequence[str], act: Callable[[UUID], Awaitable[str | None]], done: str
) -> bool:
    faults = 0
    for task_id in [id_of(given) for given in ids]:
        fault = await act(task_id)
        faults += fault is not None
        typer.echo(f"{task_id} {fault or done}")
    return not faults


async def _state(client: TaskClient, task_id: UUID) -> str:
    ending = await client.ending(task_id)
    return "not found" if ending is None else f"left alone: it is {ending.state}"


def id_of(given: str) -> UUID:
    """The id of a task as it was typed.

    Raises:
        InvalidOptions: It is none.
    """
    try:
        return UUID(given)
    except ValueError:
        raise InvalidOptions(f"{given!r} is not the id of a task") from None


def _moment(given: str) -> datetime:
    try:
        return datetime.fromisoformat(given)
    except ValueError:
        raise InvalidOptions(
            f"--before={given} is not a moment, such as 2030-01-31T12:00Z"
        ) from None
