"""The overview: what wants attention first, and how it goes."""

from typing import Final

from fastapi import Request, Response

from uow.api.deps import ClientDep, DatabaseDep, SettingsDep
from uow.api.pages import plots
from uow.api.pages.acting import what_was_done
from uow.api.pages.loads import LastMinutes
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render, segment
from uow.questions.attention import About, Attention
from uow.questions.overview import Overview, overview

router = page_router()

MOST_ATTENTION: Final = 30
"""Things that are listed; what is broken comes first."""

FIRST_ATTENTION: Final = 6
"""Those that stand there at once: the numbers are still to be seen below them."""

_PAGES: Final[dict[About, str]] = {
    "everything": "/ui/queues",
    "queue": "/ui/queues/{}",
    "name": "/ui/names/{}",
    "user": "/ui/users/{}",
    "task": "/ui/tasks/{}",
    "failures": "/ui/failures",
    "workers": "/ui/workers",
    "schedules": "/ui/schedules",
    "servers": "",
}
"""Where each thing is mended; empty: on no page."""


@router.get("/")
async def show_overview(
    request: Request,
    db: DatabaseDep,
    client: ClientDep,
    settings: SettingsDep,
    last: LastMinutes = "60",
) -> Response:
    """All at one look; with Redis away what Postgres says."""
    found = await overview(db, settings.dead_after, client.redis, int(last))
    minutes = plots.Minutes.until_now(found.points, int(last))
    return render(
        request, "overview.html", title="Overview", found=found, last=int(last), minutes=minutes,
        attention=[(one, page_of(one)) for one in found.attention[:MOST_ATTENTION]],
        first=FIRST_ATTENTION, left_out=max(len(found.attention) - MOST_ATTENTION, 0),
        ended=plots.ended_plot(minutes), waits=plots.waits_plot(minutes),
        failed=plots.failed_plot(minutes), depths=_depths(found), did=what_was_done(request),
    )  # fmt: skip


def page_of(one: Attention) -> str:
    """The path of the page on which something is mended; empty: there is none."""
    return _PAGES[one.about].format(segment(one.target))


def _depths(found: Overview) -> list[list[tuple[str, float, float]]]:
    """A bar for each queue: what runs, what waits, what is due later."""
    parts = [
        [("busy", one.running.value), ("later", one.waiting.value), ("rest", one.later.value)]
        for one in found.queues
    ]
    most = max((sum(count for _, count in one) for one in parts), default=0)
    return [plots.shares(one, most) for one in parts]
