"""What is done on a task's page, as lines of a shell."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args
from uuid import UUID

from starlette.requests import Request

from uow.acts.named import ActName
from uow.api.pages.shell_lines import curl_line, worker_line

WORDS: Final[Mapping[str, str]] = {
    "cancel": "Cancel",
    "retry": "Retry",
    "run-now": "Run now",
    "priority": "Change priority",
    "delete": "Delete",
}
"""Each act, as buttons have it."""

_EXAMPLE: Final = 5
"""A priority, where nobody has said one."""


@dataclass(frozen=True, slots=True)
class FilledIn:
    """What somebody has filled in.

    Attributes:
        args: The text of edited arguments; None: they are not edited.
    """

    reason: str = ""
    priority: int | None = None
    args: str | None = None

    @property
    def options(self) -> dict[str, int]:
        """Of the act."""
        return {} if self.priority is None else {"priority": self.priority}


def act_lines(request: Request, act: ActName, task_id: UUID, asked: FilledIn) -> list[str]:
    """One act on one task, as a line of ours and as one of curl."""
    to = asked.priority if act == "priority" else None
    line = worker_line(
        "tasks", act, str(task_id), to=to, args=_one_line(asked.args), reason=asked.reason
    )
    path = f"/api/tasks/{task_id}"
    if act == "delete":
        return [line, curl_line(request, "DELETE", path)]
    body: dict[str, object] = {"reason": asked.reason}
    if act == "priority":
        body["priority"] = asked.priority
    if asked.args is not None:
        body["args"] = _value(asked.args)
    return [line, curl_line(request, "POST", f"{path}/{act}", body)]


def lines_of(request: Request, task_id: UUID) -> dict[str, list[str]]:
    """Looking at a task, by what it is for."""
    path = f"/api/tasks/{task_id}"
    return {
        "Show": [worker_line("tasks", "show", str(task_id)), curl_line(request, "GET", path)],
        "Why it waits": [
            worker_line("tasks", "why", str(task_id)),
            curl_line(request, "GET", f"{path}/why"),
        ],
        **{
            WORDS[act]: act_lines(request, act, task_id, FilledIn(priority=_EXAMPLE))
            for act in get_args(ActName)
        },
    }


def _one_line(text: str | None) -> str | None:
    try:
        return None if text is None else json.dumps(_value(text), ensure_ascii=False)
    except RecursionError:
        return text


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
