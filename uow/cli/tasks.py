"""``worker tasks list``, ``show`` and ``tail``: parse, call, print."""

from typing import Annotated

import typer

from uow.cli import completion, groups
from uow.cli.app import Named, command_of, run_async, start_app

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, an object per line.")]
States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        help="As failed,cancelled; may be there again.",
        autocompletion=completion.states,
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", help="Task function; 'billing.*': all that begin so.")
]
Queue = Annotated[str | None, typer.Option("--queue", help="Where it was put.")]
User = Annotated[str | None, typer.Option("--user", help="Whose it is.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Asked for since: 12h, 3d, 2030-01-31T12:00Z.")
]
Until = Annotated[str | None, typer.Option("--until", help="Asked for before.")]
SettledSince = Annotated[str | None, typer.Option("--settled-since", help="Settled since.")]
SettledUntil = Annotated[str | None, typer.Option("--settled-until", help="Settled before.")]
Error = Annotated[str | None, typer.Option("--error", help="Type of an error of an attempt.")]
Worker = Annotated[str | None, typer.Option("--worker", help="Process of its last attempt.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--arg", help="An argument, as order_id=7; may be there again."),
]
Schedule = Annotated[str | None, typer.Option("--schedule", help="That has asked for it.")]


def words_of(**given: str | list[str] | None) -> list[tuple[str, str]]:
    """Options as the words of a filter."""
    return [
        (word.rstrip("_"), value)
        for word, values in given.items()
        for value in (values if isinstance(values, list) else [values])
        if value is not None
    ]


@command_of(groups.tasks)
def list_(
    state: States = None,
    name: Name = None,
    queue: Queue = None,
    user: User = None,
    since: Since = None,
    until: Until = None,
    settled_since: SettledSince = None,
    settled_until: SettledUntil = None,
    error: Error = None,
    worker: Worker = None,
    arg: Arguments = None,
    schedule: Schedule = None,
    limit: Annotated[int, typer.Option(help="How many at most: 1 to 200.")] = 50,
    after: Annotated[
        str | None, typer.Option(help="Where the list goes on, as its last line says.")
    ] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
    as_json: AsJson = False,
    app: Named = None,
) -> None:
    """Tasks that fit every option, the newest first: exact, or with how far was looked."""
    from uow.cli.listed_tasks import show_list

    words = words_of(
        state=state, name=name, queue=queue, user=user, since=since, until=until,
        settled_since=settled_since, settled_until=settled_until, error=error, worker=worker,
        arg=arg, schedule=schedule,
    )  # fmt: skip
    run_async(
        show_list(
            *start_app(app), words, limit=limit, after=after,
            order="oldest" if oldest else "newest", as_json=as_json,
        )
    )  # fmt: skip


@command_of(groups.tasks)
def show(
    task_id: Annotated[str, typer.Argument(help="Its id.", metavar="ID")],
    as_json: AsJson = False,
    app: Named = None,
) -> None:
    """One task: arguments and result, each attempt with its error, and a timeline."""
    from uow.cli.shown_task import show_one

    run_async(show_one(*start_app(app), task_id, as_json=as_json))


@command_of(groups.tasks)
def tail(
    state: States = None,
    name: Name = None,
    queue: Queue = None,
    user: User = None,
    error: Error = None,
    worker: Worker = None,
    arg: Arguments = None,
    schedule: Schedule = None,
    as_json: AsJson = False,
    app: Named = None,
) -> None:
    """Follow tasks: a line for each of the newest 200 that appears or changes its state; Ctrl-C."""
    from uow.cli.listed_tasks import follow

    words = words_of(
        state=state, name=name, queue=queue, user=user, error=error, worker=worker, arg=arg,
        schedule=schedule,
    )  # fmt: skip
    run_async(follow(*start_app(app), words, as_json=as_json))
