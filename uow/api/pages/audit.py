"""The audit: what was done by whom, newest first."""

from typing import Annotated, Final, get_args
from uuid import UUID

from fastapi import Query, Request, Response

from uow.acts.named import ActName
from uow.api.deps import DatabaseDep
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.api.pages.shell_lines import curl_line, worker_line
from uow.api.pages.task import id_of
from uow.clock import utcnow
from uow.db.audit import LATEST
from uow.errors import InvalidFilter
from uow.names import is_storable
from uow.questions.audit import AuditEntries, audit_page
from uow.questions.moments import moment_of

router = page_router()

KNOWN: Final = (*get_args(ActName), "pause", "resume", "stop", "reveal", "prune")
"""Acts that the form completes."""

Word = Annotated[str, Query(max_length=500)]


@router.get("/audit")
async def list_audit(
    request: Request,
    db: DatabaseDep,
    who: Word = "",
    what: Word = "",
    task: Word = "",
    since: Word = "",
    before: Annotated[int, Query(ge=1, le=LATEST)] = LATEST,
) -> Response:
    """Entries that fit; what is rare is looked for in bounds, and goes on further."""
    words = {"who": who, "what": what, "task": task, "since": since}
    fault, found = None, AuditEntries((), None)
    try:
        found = await audit_page(
            db, task_id=_task(task), who=_text("who", who), what=_text("what", what),
            since=moment_of("since", since, utcnow()) if since else None, before=before,
        )  # fmt: skip
    except InvalidFilter as error:
        fault = str(error)
    return render(
        request, "audit.html", status=200 if fault is None else 422, title="Audit", words=words,
        found=found, fault=fault, known=KNOWN,
        lines=[
            worker_line("audit", **words),
            curl_line(request, "GET", "/api/audit", query=words),
        ],
    )  # fmt: skip


def _text(word: str, given: str) -> str | None:
    if given and not is_storable(given):
        raise InvalidFilter(f"{word}: that is nothing that an entry can have")
    return given or None


def _task(given: str) -> UUID | None:
    if not given:
        return None
    found = id_of(given)
    if found is None:
        raise InvalidFilter(f"task={given[:80]} is no id of a task")
    return found
