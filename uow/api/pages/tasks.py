"""The list of tasks, with the words of its filter as a form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Query, Request, Response

from uow.acts.named import NAMES
from uow.api.deps import DatabaseDep, QueuesDep, RedactionDep, RegistryDep
from uow.api.pages.acting import what_was_done
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import REGIONS, render
from uow.api.pages.shell_lines import curl_line, filter_options, worker_line
from uow.api.pages.task_lines import WORDS as ACT_WORDS
from uow.db.known_words import KnownWords
from uow.db.listing import Direction
from uow.db.models import TaskState
from uow.errors import InvalidFilter
from uow.questions.filters import ARGUMENT, TaskFilter
from uow.questions.known_words import words_known
from uow.questions.lists import MOST, TaskLists, TaskPage
from uow.tasks.options import MAX_PRIORITY

router = page_router()

OF_THE_PAGE = frozenset({"limit", "order", "after", "before", "did"})
"""Parameters that say nothing of which tasks are meant."""

RARE: Final = frozenset(
    {"until", "settled-since", "settled-until", "error", "worker", "arg", "schedule"}
)
"""Words of which the form shows the fields when one is given, or when somebody opens them."""

COMMON: Final[Sequence[tuple[str, dict[str, str]]]] = (
    ("Failed, last 12 h", {"state": "failed", "settled_since": "12h"}),
    ("Running", {"state": "running"}),
    ("Queued", {"state": "queued"}),
    ("Retrying", {"state": "retrying"}),
    ("Scheduled", {"state": "scheduled"}),
    ("Cancelled", {"state": "cancelled"}),
    ("Asked for in the last hour", {"since": "1h"}),
)
"""What is looked for most."""


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
        return cls.read([(word, value) for word, value in pairs if word not in OF_THE_PAGE])

    @classmethod
    def read(cls, pairs: Sequence[tuple[str, str]]) -> "Given":
        """These words; those without a value are as if they were not there."""
        words = [(word, value) for word, value in pairs if value]
        try:
            return cls(words, TaskFilter.read(words))
        except InvalidFilter as error:
            return cls(words, None, str(error))

    @property
    def arguments(self) -> list[str]:
        """Each argument as ``key=value``."""
        by_key = [f"{word.removeprefix(ARGUMENT)}={value}" for word, value in self.words
                  if word.startswith(ARGUMENT)]  # fmt: skip
        return by_key + [value for word, value in self.words if word == "arg"]

    @property
    def is_rare(self) -> bool:
        """Whether a word is given that the form shows among the others."""
        return any(word in RARE or word.startswith(ARGUMENT) for word, _ in self.words)


@router.get("/tasks")
async def list_tasks(
    request: Request,
    db: DatabaseDep,
    redaction: RedactionDep,
    registry: RegistryDep,
    queues: QueuesDep,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    order: Direction = "newest",
    after: str | None = None,
    before: str | None = None,
) -> Response:
    """Tasks that fit a filter, newest first; a word that does not fit is told beside the form."""
    given, page = Given.of(request), TaskPage(())
    if given.wanted is not None:
        try:
            page = await TaskLists(db, redaction).page(
                given.wanted, limit=limit, order=order, after=after, before=before
            )
        except InvalidFilter as error:  # of a place, or of what is redacted
            given = Given(given.words, None, str(error))
    is_live = REGIONS in request.scope  # whoever looks has the form already
    known = KnownWords() if is_live else await words_known(db, registry, queues)
    return render(
        request, "tasks.html", status=200 if given.fault is None else 422, title="Tasks",
        given=given, page=page, states=list(TaskState), order=order, limit=limit, known=known,
        common=COMMON, acts=[(name, ACT_WORDS[name]) for name in NAMES], did=what_was_done(request),
        most_priority=MAX_PRIORITY, lines=_lines(request, given),
    )  # fmt: skip


def _lines(request: Request, given: Given) -> list[str]:
    words = [] if given.wanted is None else given.wanted.said()
    query = "&".join(f"{quote(word, safe=':')}={quote(value)}" for word, value in words)
    path = "/api/tasks" + (f"?{query}" if query else "")
    return [
        worker_line("tasks", "list", *filter_options(words)),
        curl_line(request, "GET", path),
    ]
