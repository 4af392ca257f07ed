"""Queues and task functions: what waits, runs and ends in each, and what of them is paused."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import Depends, Path, Query, Request, Response

from uow.acts.pauses import Pausable
from uow.api.deps import ClientDep, DatabaseDep, SettingsDep
from uow.api.pages import plots
from uow.api.pages.acting import what_was_done
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render, segment
from uow.api.pages.shell_lines import curl_line, worker_line
from uow.db.fleet_around import FleetAround, HoldingPause
from uow.db.rates import By
from uow.questions.charts import MINUTES, charted, one_name, one_queue

router = page_router()

Target = Annotated[str, Path(max_length=500, pattern=r"^[^\x00]+$")]

LastMinutes = Annotated[Literal["30", "60", "180"], Query()]
"""How many the plots have."""

HEADINGS: Final[dict[By, str]] = {"queue": "Queues", "name": "Names"}

LIST_OF: Final[dict[By, str]] = {"queue": "/ui/queues", "name": "/ui/names"}


@dataclass(frozen=True, slots=True)
class NotDone:
    """Why an act was not done.

    Attributes:
        status: Of the answer.
        reason, until: What was filled in, which is not to be lost.
    """

    text: str
    status: int
    reason: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class LoadPages:
    """The pages of queues and of task functions, also for who has tried to act there."""

    request: Request
    db: DatabaseDep
    client: ClientDep
    settings: SettingsDep
    last: LastMinutes = "60"

    async def all(self, by: By, fault: NotDone | None = None) -> Response:
        """Every one of them."""
        found = await charted(self.db, self.settings.dead_after, by, self.client.redis)
        sparks = {
            key: plots.spark(counts, f"Ended per minute in the last {MINUTES} minutes")
            for key, counts in found.minutes.items()
        }
        everything = Pausable("everything")
        return render(
            self.request, "loads.html", status=fault.status if fault else 200, title=HEADINGS[by],
            by=by, found=found, sparks=sparks, pauses=_pauses(found.around, by),
            everything=_pauses(found.around, "everything").get(""), fault=fault,
            did=what_was_done(self.request), lines=_lines(self.request, everything),
        )  # fmt: skip

    async def one(self, by: By, target: str, fault: NotDone | None = None) -> Response:
        """One of them."""
        dead_after, last = self.settings.dead_after, int(self.last)
        if by == "queue":
            found = await one_queue(self.db, dead_after, target, last, self.client.redis)
        else:
            found = await one_name(self.db, dead_after, target, last)
        minutes = plots.Minutes.until_now(found.points, last)
        return render(
            self.request, "load.html", status=fault.status if fault else 200, title=target, by=by,
            found=found, minutes=minutes, last=last, ended=plots.ended_plot(minutes),
            waits=plots.waits_plot(minutes), runs=plots.runs_plot(minutes),
            failed=plots.failed_plot(minutes), pause=_pauses(found.around, by).get(target),
            everything=_pauses(found.around, "everything").get(""), heading=HEADINGS[by],
            list_of=LIST_OF[by], fault=fault, did=what_was_done(self.request),
            lines=_lines(self.request, Pausable(by, target)),
        )  # fmt: skip


LoadPagesDep = Annotated[LoadPages, Depends()]


@router.get("/queues")
async def list_queues(pages: LoadPagesDep) -> Response:
    """Every queue."""
    return await pages.all("queue")


@router.get("/names")
async def list_names(pages: LoadPagesDep) -> Response:
    """Every task function."""
    return await pages.all("name")


@router.get("/queues/{queue:path}")
async def show_queue(queue: Target, pages: LoadPagesDep) -> Response:
    """One queue, with its task functions."""
    return await pages.one("queue", queue)


@router.get("/names/{name:path}")
async def show_name(name: Target, pages: LoadPagesDep) -> Response:
    """One task function, with its queues."""
    return await pages.one("name", name)


def _pauses(around: FleetAround, kind: str) -> dict[str, HoldingPause]:
    return {one.target: one for one in around.pauses if one.kind == kind}


def _lines(request: Request, what: Pausable) -> list[str]:
    """Pausing and going on, in a shell."""
    group, path = f"{what.kind}s", f"/api/{what.kind}s/{segment(what.target)}"
    target: str | None = what.target
    words = list[str]()
    if what.kind == "everything":
        group, path, words, target = "queues", "/api/everything", ["--all"], None
    body = {"reason": "why", "until": "2h"}
    return [
        worker_line(group, "pause", *words, about=target, reason="why", until="2h"),
        worker_line(group, "resume", *words, about=target),
        curl_line(request, "POST", f"{path}/pause", body),
        curl_line(request, "POST", f"{path}/resume"),
    ]
