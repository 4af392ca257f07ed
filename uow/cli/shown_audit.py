"""``worker audit``: what was done by whom."""

import json
from datetime import UTC, datetime
from typing import Any

import typer
from pydantic_core import to_json

from uow.cli.intervene import id_of
from uow.cli.looking import open_database
from uow.cli.plain import plain
from uow.cli.preview import in_utc
from uow.db.audit import LATEST, AuditRow
from uow.questions.audit import audit_page
from uow.questions.moments import moment_of
from uow.settings.environment import Settings


async def show_audit(
    settings: Settings,
    *,
    task: str | None,
    who: str | None,
    what: str | None,
    since: str | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Print a page of the audit."""
    task_id = None if task is None else id_of(task)
    moment = None if since is None else moment_of("since", since, datetime.now(UTC))
    async with open_database(settings) as db:
        page = await audit_page(
            db, task_id=task_id, who=who, what=what, since=moment, before=before or LATEST,
            limit=limit,
        )  # fmt: skip
    for row in page.rows:
        typer.echo(to_json(_as_json(row)).decode() if as_json else _line(row))
    if not page.rows and page.next is None and not as_json:
        typer.echo("there are none")
    if page.next is not None and not as_json:
        typer.echo(f"there may be more: --before {page.next}")


def _line(row: AuditRow) -> str:
    where = row.face if row.address is None else f"{row.face} {row.address}"
    words = [in_utc(row.at), f"{plain(row.who)} ({where})", row.what]
    if row.task_id is not None:
        words.append(str(row.task_id))
    words += [plain(said) for said in (row.filter, row.options, row.counts) if said is not None]
    if row.args is not None:
        words.append(f"arguments before: {plain(row.args)}")
    if row.reason is not None:
        words.append(f"because: {plain(row.reason)}")
    return "  ".join(words)


def _as_json(row: AuditRow) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(row, name) for name in AuditRow.__slots__}
    for name, value in values.items():
        if name in ("filter", "counts", "options", "args") and value is not None:
            values[name] = json.loads(value)
    return values
