"""Schedules: in words, how far they are, what has become of their ticks, and acting on them."""

from typing import Annotated, Literal, get_args

from fastapi import HTTPException, Query, Request, Response
from starlette.responses import RedirectResponse

from uow.acts.schedules import ScheduleActs
from uow.api.deps import DatabaseDep, SettingsDep
from uow.api.pages.acting import SEE_OTHER, PageActor, Reason, done, what_was_done
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import Links, render
from uow.api.pages.shell_lines import curl_line, quoted, worker_line
from uow.db.database import Database
from uow.errors import InvalidSchedule, ScheduleBusy, ScheduleNotFound
from uow.questions.schedules import MOST_SCHEDULES, ShownSchedule, ShownTick, shown_schedules
from uow.settings.environment import Settings

router = page_router()

Text = Annotated[str, Query(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]

ScheduleAct = Literal["pause", "resume", "run"]


@router.get("/schedules")
async def list_schedules(request: Request, db: DatabaseDep, settings: SettingsDep) -> Response:
    """Those of all services whose tables these are."""
    return await _page(request, db, settings)


@router.get("/schedules/{act}")
async def lead_back(request: Request, act: str) -> Response:
    """To the page of schedules, for who loads again what an act has shown."""
    link = Links(request.scope.get("root_path", ""))
    return RedirectResponse(link("/ui/schedules"), SEE_OTHER)


@router.post("/schedules/{act}")
async def act_on_schedule(
    request: Request,
    act: ScheduleAct,
    db: DatabaseDep,
    settings: SettingsDep,
    by: PageActor,
    app: Text,
    name: Text,
    reason: Reason = "",
) -> Response:
    """Does it, and leads back, or to the task that was asked for; or says why it was not done."""
    acts = ScheduleActs(db, app, by, reason.strip() or None)
    try:
        if act == "run":
            handle = await acts.run(name)
            return done(request, f"/ui/tasks/{handle.id}", act)
        await (acts.pause if act == "pause" else acts.resume)(name)
    except ScheduleNotFound as error:
        raise HTTPException(404, str(error)) from error
    except (ScheduleBusy, InvalidSchedule) as error:
        return await _page(request, db, settings, fault=str(error))
    return done(request, "/ui/schedules", act)


async def _page(
    request: Request, db: Database, settings: Settings, fault: str | None = None
) -> Response:
    found = await shown_schedules(db, settings.app)
    return render(
        request, "schedules.html", status=200 if fault is None else 409, title="Schedules",
        found=found, most=MOST_SCHEDULES, fault=fault, did=what_was_done(request),
        strips=[[(tick, _said(tick)) for tick in reversed(one.ticks)] for one in found],
        lines=[_lines(one) for one in found],
        looking=[worker_line("cron", "list", "--all"), curl_line(request, "GET", "/api/schedules")],
    )  # fmt: skip


def _said(tick: ShownTick) -> str:
    """A tick in words."""
    until = f" to {tick.until:%Y-%m-%d %H:%M:%S}" if tick.until else ""
    outcome = f", its task {tick.state or 'is pruned'}" if tick.task_id else ""
    return f"{tick.tick:%Y-%m-%d %H:%M:%S}{until} UTC: {tick.fate}{outcome}"


def _lines(one: ShownSchedule) -> list[str]:
    """The acts in a shell: `worker cron` means the schedules of one app."""
    app = f"WORKER_APP={quoted(one.app)}"
    acts = get_args(ScheduleAct)
    return [f"{app} {worker_line('cron', act, about=one.name)}" for act in acts]
