"""Follow tasks, as server-sent events."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query
from starlette.responses import Response

from uow.api.deps import StreamsDep
from uow.api.event_stream import EventStream
from uow.questions.following import Following

router = APIRouter(prefix="/api", tags=["events"])

_EXAMPLE = """retry: 2000
event: snapshot
id: 1
data: {"tasks":[{"id":"01939a1b-…","name":"orders.confirm","state":"queued","queue":"arq:queue",…}]}

event: changed
id: 2
data: {"tasks":[{"id":"01939a1b-…","name":"orders.confirm","state":"running",…}]}

event: settled
id: 3
data: {"tasks":[{"id":"01939a1b-…","name":"orders.confirm","state":"succeeded",…}]}

: still here

"""

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, until the client goes",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}
"""For OpenAPI."""


@router.get("/events", response_class=Response, responses=ANSWERS)
async def follow(
    streams: StreamsDep,
    task: Annotated[UUID | None, Query(description="This task alone.")] = None,
    user: Annotated[str | None, Query(description="The tasks of this user.")] = None,
) -> Response:
    """What there is (`snapshot`: the newest 50 tasks), and then what becomes of it.

    `settled`: tasks that are settled. `changed`: those that are new, have started, or wait again.
    Sent at most four times a second. Too much at once, or too much for the client, is told as a new
    `snapshot`; so is each connection, whatever `Last-Event-ID` it shows. A comment every 15 s of
    quiet. It ends after 15 minutes: connect again.
    """
    if task is not None and user is not None:
        raise HTTPException(422, "follow a task or a user, not both")
    return EventStream(streams, Following(task, user))
