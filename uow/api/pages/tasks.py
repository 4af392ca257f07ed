"""The list of tasks, with the words of its filter as a form."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response

from uow.api.deps import DatabaseDep, RedactionDep
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.db.listing import Direction
from uow.db.models import TaskState
from uow.errors import InvalidFilter
from uow.questions.filters import TaskFilter
from uow.questions.lists import MOST, TaskLists, TaskPage

router = page_router()

OF_THE_PAGE = frozenset({"limit", "order", "after", "before", "did"})
"""Parameters that say nothing of which tasks are meant."""


@dataclass(frozen=True, slots=True)
class Given:
    """The words of a filter as somebody has given them.

    Attributes:
        words: Those that are not empty.
        wanted: What they mean; None: they mean nothing.
        fault: Why, then.
    """

    words: list[tuple[str, str]]
    wanted: TaskFilter | None
    fault: str | None = None

    @classmethod
    def of(cls, request: Request) -> "Given":
        """The words of a query string."""
        pairs = request.query_params.multi_items()
        words = [(word, value) for word, value in pairs if word not in OF_THE_PAGE and value]
        try:
            return cls(words, TaskFilter.read(words))
        except InvalidFilter as error:
            return cls(words, None, str(error))


@router.get("/tasks")
async def list_tasks(
    request: Request,
    db: DatabaseDep,
    redaction: RedactionDep,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    order: Direction = "newest",
    after: str | None = None,
    before: str | None = None,
) -> Response:
    """Tasks that fit a filter, newest first; a word that does not fit is told beside the form."""
    given = Given.of(request)
    page = TaskPage(())
    if given.wanted is not None:
        page = await TaskLists(db, redaction).page(
            given.wanted, limit=limit, order=order, after=after, before=before
        )
    return render(
        request, "tasks.html", status=200 if given.fault is None else 422, title="Tasks",
        given=given, page=page, states=list(TaskState), order=order,
    )  # fmt: skip
