"""What fails: by type, task function and hour, each number a way to the tasks."""

import math
from typing import Annotated

from fastapi import Query, Request, Response

from uow.api.deps import DatabaseDep
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.api.pages.shell_lines import curl_line, worker_line
from uow.errors import InvalidOptions
from uow.questions.failure_matrix import FailureMatrix, failure_matrix
from uow.questions.failures import hours_of

router = page_router()

Text = Annotated[str, Query(max_length=500, pattern=r"^[^\x00]*$")]

DAY = "24h"

HEATS = 5


@router.get("/failures")
async def list_failures(
    request: Request, db: DatabaseDep, since: Text = DAY, error: Text = "", name: Text = ""
) -> Response:
    """Failures of the last hours; a time that is none is told beside the form."""
    fault, hours = None, 0
    try:
        hours = hours_of(since or DAY)
    except InvalidOptions as refused:
        fault = str(refused)
    found = None
    if fault is None:
        found = await failure_matrix(db, hours, error=error or None, name=name or None)
    lines = [
        worker_line("failures", since=since, by="error", error=error, name=name),
        curl_line(
            request,
            "GET",
            "/api/errors",
            query={"since": since, "by": "error", "error": error, "name": name},
        ),
    ]
    return render(
        request, "failures.html", status=200 if fault is None else 422, title="Failures",
        found=found, since=since, error=error, name=name, fault=fault, lines=lines,
        heats=[] if found is None else _heats(found), headings=_headings(found),
    )  # fmt: skip


def _heats(found: FailureMatrix) -> list[list[int]]:
    """How frequent each number is among all: 1 to `HEATS`, by powers; 0: it is none."""
    most = max((max(row.counts) for row in found.rows), default=1)
    scale = math.log(most + 1)
    return [
        [math.ceil(HEATS * math.log(count + 1) / scale) if count else 0 for count in row.counts]
        for row in found.rows
    ]


def _headings(found: FailureMatrix | None) -> list[str]:
    """How long ago each time was, in the largest unit that says it."""
    if found is None:
        return []
    return [_ago(found.hours * back) for back in range(len(found.times))]


def _ago(hours: int) -> str:
    if not hours:
        return "now"
    return f"{hours // 24} d" if hours % 24 == 0 else f"{hours} h"
