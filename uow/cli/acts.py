"""``worker tasks cancel``, ``retry``, … and ``worker audit``: parse, call, print."""

from typing import Annotated, Any

import typer

from uow.cli import groups
from uow.cli.app import Named, command, command_of, run_async, start, start_app
from uow.cli.filters import takes_filter
from uow.errors import InvalidOptions

Words = list[tuple[str, str]]
Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids of tasks; or a filter.", metavar="[ID]...")
]
Yes = Annotated[
    bool, typer.Option("--yes", help="With a filter: do it; without this, it is only looked at.")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; it stands in the audit.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, an object per line.")]


@command_of(groups.tasks)
@takes_filter
def cancel(
    ids: Ids = None,
    yes: Yes = False,
    reason: Reason = None,
    as_json: AsJson = False,
    *,
    words: Words,
) -> None:
    """Cancel tasks: final at once, also while one runs."""
    _act("cancel", ids, words, yes=yes, reason=reason, as_json=as_json)


@command_of(groups.tasks)
@takes_filter
def retry(
    ids: Ids = None,
    yes: Yes = False,
    reason: Reason = None,
    args: Annotated[
        str | None,
        typer.Option("--args", help="With one id: other arguments, all of them, as a JSON object."),
    ] = None,
    as_json: AsJson = False,
    app: Named = None,
    *,
    words: Words,
) -> None:
    """Run failed or cancelled tasks again, with all their tries."""
    if args is None:
        _act("retry", ids, words, yes=yes, reason=reason, as_json=as_json)
        return
    from uow.cli.acting import retry_edited

    if words or ids is None or len(ids) != 1:
        raise InvalidOptions("--args is for one task: give its id, and no filter")
    found, settings = start_app(app)
    _exit(run_async(retry_edited(found, settings, ids[0], args, reason, as_json=as_json)))


@command_of(groups.tasks)
@takes_filter
def run_now(
    ids: Ids = None,
    yes: Yes = False,
    reason: Reason = None,
    as_json: AsJson = False,
    *,
    words: Words,
) -> None:
    """Let scheduled or retrying tasks be due."""
    _act("run-now", ids, words, yes=yes, reason=reason, as_json=as_json)


@command_of(groups.tasks)
@takes_filter
def delete(
    ids: Ids = None,
    yes: Yes = False,
    reason: Reason = None,
    as_json: AsJson = False,
    *,
    words: Words,
) -> None:
    """Remove settled tasks, with their errors."""
    _act("delete", ids, words, yes=yes, reason=reason, as_json=as_json)


@command_of(groups.tasks)
@takes_filter
def priority(
    to: Annotated[int, typer.Option("--to", help="0 to 9; higher runs first.")],
    ids: Ids = None,
    yes: Yes = False,
    reason: Reason = None,
    as_json: AsJson = False,
    *,
    words: Words,
) -> None:
    """Give unsettled tasks another priority, from their next delivery on."""
    options = {"priority": to}
    _act("priority", ids, words, options, yes=yes, reason=reason, as_json=as_json)


@command_of(groups.tasks)
def prune(
    reason: Reason = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count alone, up to 10,000; remove nothing.")
    ] = False,
) -> None:
    """Remove every settled task whose retention has ended, without waiting for the leader."""
    from uow.cli.acting import prune_all

    run_async(prune_all(start(), reason, dry_run=dry_run))


@command
def audit(
    task: Annotated[str | None, typer.Option(help="Acts on this task alone.")] = None,
    who: Annotated[str | None, typer.Option(help="Of this actor.")] = None,
    what: Annotated[str | None, typer.Option(help="This act, as cancel.")] = None,
    since: Annotated[str | None, typer.Option(help="Since: 12h, 3d, 2030-01-31T12:00Z.")] = None,
    before: Annotated[
        int | None, typer.Option(help="Where the list goes on, as its last line says.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most: 1 to 200.", min=1, max=200)] = 50,
    as_json: AsJson = False,
) -> None:
    """What was done by whom, newest first."""
    from uow.cli.shown_audit import show_audit

    run_async(
        show_audit(
            start(), task=task, who=who, what=what, since=since, before=before, limit=limit,
            as_json=as_json,
        )
    )  # fmt: skip


def _act(
    name: str,
    ids: list[str] | None,
    words: Words,
    options: dict[str, int] | None = None,
    **how: Any,
) -> None:
    from uow.cli.acting import act_by_filter, act_on_ids

    if ids and words:
        raise InvalidOptions("ids and a filter at once: say which tasks by one of them")
    if not ids and not words:
        raise InvalidOptions("say which tasks: ids, or a filter (--state, --name, --user, …)")
    yes = how.pop("yes")
    if ids:
        _exit(run_async(act_on_ids(start(), name, ids, options or {}, **how)))
    else:
        _exit(run_async(act_by_filter(start(), name, words, options or {}, yes=yes, **how)))


def _exit(went_well: bool) -> None:
    if not went_well:
        raise typer.Exit(1)
