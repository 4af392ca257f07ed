"""Follow tasks, as server-sent events."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from uow.api.deps import StreamsDep
from uow.api.entrance import Entrance
from uow.api.event_stream import EventStream
from uow.api.roles import Caller, Role
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
    request: Request,
    streams: StreamsDep,
    task: Annotated[UUID | None, Query(description="This task alone.")] = None,
    user: Annotated[str | None, Query(description="The tasks of this user.")] = None,
) -> Response:
    """What there is (`snapshot`: the newest 50 tasks), and then what becomes of it.

    `settled`: tasks that are settled. `changed`: those that are new, have started, or wait again.
    Sent at most four times a second. Too much at once, or too much for the client, is told as a new
    `snapshot`; so is each connection, whatever `Last-Event-ID` it shows. A comment every 15 s of
    quiet. It ends after 15 minutes: connect again. With the token that it was asked for, or with
    the role of that, it ends within seconds.
    """
    if task is not None and user is not None:
        raise HTTPException(422, "follow a task or a user, not both")
    return EventStream(streams, Following(task, user), may_follow=lambda: _is_let_in(request))


def _is_let_in(request: Request) -> bool:
    """Whether the request would still be let in; in an app of somebody else's it is theirs."""
    entrance: Entrance | None = getattr(request.app.state, "entrance", None)
    if entrance is None:
        return True
    said = entrance.rule(request)
    return isinstance(said, Caller) and said.may(Role.VIEWER)
