"""What was done by whom."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from uow.api.act_schemas import AuditEntryShown, AuditPage
from uow.api.deps import DatabaseDep
from uow.api.once import AnsweringRoute
from uow.api.schemas import Text
from uow.clock import utcnow
from uow.db.audit import LATEST
from uow.questions.audit import MOST, audit_page
from uow.questions.moments import moment_of

router = APIRouter(prefix="/api/audit", tags=["acts"], route_class=AnsweringRoute)


@router.get("")
async def list_audit(
    db: DatabaseDep,
    task: Annotated[UUID | None, Query(description="Acts on this task alone.")] = None,
    who: Text | None = None,
    what: Text | None = None,
    since: Annotated[
        Text | None, Query(description="A moment, as 2030-01-31T12:00Z, or how long ago, as 3d.")
    ] = None,
    before: Annotated[int, Query(ge=1, le=LATEST)] = LATEST,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> AuditPage:
    """Acts, newest first: by whom, what, to what, from where, why."""
    moment = None if since is None else moment_of("since", since, utcnow())
    page = await audit_page(
        db, task_id=task, who=who, what=what, since=moment, before=before, limit=limit
    )
    return AuditPage(entries=[AuditEntryShown.of(row) for row in page.rows], next=page.next)
