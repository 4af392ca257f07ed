"""One field that leads on: to a task, a name, a queue or a user."""

from typing import Annotated

from fastapi import Query, Request, Response
from starlette.responses import RedirectResponse

from uow.api.deps import DatabaseDep, QueuesDep, RedactionDep, RegistryDep
from uow.api.pages.acting import SEE_OTHER
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import Links, render, segment
from uow.api.pages.task import id_of
from uow.db.known_words import KnownWords
from uow.names import LONGEST_TEXT, is_storable
from uow.questions.filters import TaskFilter
from uow.questions.known_words import words_known
from uow.questions.lists import TaskLists

router = page_router()

MOST_ALIKE = 20
"""Names and queues that are offered, of those that have in them what was looked for."""

Choice = tuple[str, str]
"""What it is, and where it leads."""


@router.get("/find")
async def find(
    request: Request,
    db: DatabaseDep,
    registry: RegistryDep,
    queues: QueuesDep,
    redaction: RedactionDep,
    q: Annotated[str, Query(max_length=LONGEST_TEXT)] = "",
) -> Response:
    """Leads to what is meant; where that is not one thing, offers what it may be."""
    given, link = q.strip(), Links(request.scope.get("root_path", ""))
    if (task_id := id_of(given)) is not None:
        return RedirectResponse(link(f"/ui/tasks/{task_id}"), SEE_OTHER)
    exact: list[Choice] = []
    known = KnownWords()
    if is_storable(given):
        known = await words_known(db, registry, queues)
        of_user = await TaskLists(db, redaction).page(TaskFilter(user=given), limit=1)
        exact = _exact(link, given, known, is_user=bool(of_user.tasks))
    if len(exact) == 1:
        return RedirectResponse(exact[0][1], SEE_OTHER)
    return render(
        request, "find.html", title="Find", given=given, exact=exact,
        alike=_alike(link, given, known), can_be=is_storable(given),
    )  # fmt: skip


def _exact(link: Links, given: str, known: KnownWords, *, is_user: bool) -> list[Choice]:
    found = []
    if given in known.names:
        found.append((f"Tasks of the function {given}", link("/ui/tasks", name=given)))
    if given in known.queues:
        found.append((f"Tasks of the queue {given}", link("/ui/tasks", queue=given)))
    if given in known.schedules:
        found.append((f"Tasks of the schedule {given}", link("/ui/tasks", schedule=given)))
    if given in known.errors:
        found.append((f"Tasks with the error {given}", link("/ui/tasks", error=given)))
    if is_user:
        found.append((f"The user {given}", link(f"/ui/users/{segment(given)}")))
    return found


def _alike(link: Links, given: str, known: KnownWords) -> list[Choice]:
    """What has it in its name, whatever its case."""
    part = given.casefold()
    names = [(f"Function {one}", link("/ui/tasks", name=one))
             for one in known.names if part in one.casefold()]  # fmt: skip
    queues = [(f"Queue {one}", link("/ui/tasks", queue=one))
              for one in known.queues if part in one.casefold()]  # fmt: skip
    return [*names[:MOST_ALIKE], *queues[:MOST_ALIKE]] if part else []
