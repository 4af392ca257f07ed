"""The worker processes: what each is, how it is, what it runs since when."""

from fastapi import Request, Response

from uow.api.deps import DatabaseDep, SettingsDep
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.api.pages.shell_lines import curl_line, worker_line
from uow.questions.attention import LAG_SECONDS
from uow.questions.workers import MOST_WORKERS, workers

router = page_router()

SHOWN_TASKS = 10
"""Of each worker; the rest are one link away."""


@router.get("/workers")
async def list_workers(request: Request, db: DatabaseDep, settings: SettingsDep) -> Response:
    """All of them, by name."""
    found = await workers(db, settings.dead_after)
    living = [one for one in found if one.lives]
    slots, busy = ([getattr(one, what) for one in living] for what in ("slots", "busy"))
    return render(
        request, "workers.html", title="Workers", found=found, living=living,
        slots=None if None in slots else sum(slots), busy=None if None in busy else sum(busy),
        versions=sorted({one.version for one in living if one.version is not None}),
        most=MOST_WORKERS, shown_tasks=SHOWN_TASKS, late=LAG_SECONDS,
        lines=[worker_line("workers"), curl_line(request, "GET", "/api/workers")],
    )  # fmt: skip
