"""``worker queues list``, ``names list``, ``users list|show``, ``failures``: parse, call, print."""

from enum import StrEnum
from typing import Annotated

import typer

from uow.cli import groups
from uow.cli.app import command, command_of, run_async, start

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, one object per line, with moments in UTC.")
]


class FailuresBy(StrEnum):
    """What failures are told apart by."""

    error = "error"
    name = "name"
    hour = "hour"


@command_of(groups.queues)
def list_(
    name: Annotated[str | None, typer.Option(help="Of this task function alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Each queue: what waits, runs and has ended lately."""
    from uow.cli.numbers_shown import show_queues

    run_async(show_queues(start(), name=name, as_json=as_json))


def _list_names(
    queue: Annotated[str | None, typer.Option(help="In this queue alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Each task function: what waits, runs and has ended lately."""
    from uow.cli.numbers_shown import show_names

    run_async(show_names(start(), queue=queue, as_json=as_json))


_list_names.__name__ = "list_"
command_of(groups.names)(_list_names)


def _list_users(as_json: AsJson = False) -> None:
    """Whose the 2,000 newest tasks are; whoever has most that is not settled comes first."""
    from uow.cli.numbers_shown import show_users

    run_async(show_users(start(), as_json=as_json))


_list_users.__name__ = "list_"
command_of(groups.users)(_list_users)


@command_of(groups.users)
def show(
    user: Annotated[str, typer.Argument(help="The user's id.", metavar="USER")],
    as_json: AsJson = False,
) -> None:
    """A user's numbers, from the 2,000 newest tasks."""
    from uow.cli.numbers_shown import show_user

    run_async(show_user(start(), user, as_json=as_json))


@command
def failures(
    since: Annotated[
        str, typer.Option(help="How far back, as 90m, 12h or 3d; in whole hours of UTC.")
    ] = "24h",
    by: Annotated[FailuresBy, typer.Option(help="What to tell apart.")] = FailuresBy.error,
    error: Annotated[str | None, typer.Option(help="Of this type alone.")] = None,
    name: Annotated[str | None, typer.Option(help="Of this task function alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """What attempts have failed by, the most frequent first; by hour the latest first."""
    from uow.cli.numbers_shown import show_failures

    run_async(show_failures(start(), since, by.value, error=error, name=name, as_json=as_json))
