"""Acting from a page: who acts, the fields of a form, and the way back after it is done."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

from fastapi import Depends, Form, Request, Response
from starlette.responses import RedirectResponse

from uow.acts.actor import Actor
from uow.acts.noted import LONGEST_REASON
from uow.api.actor import get_actor
from uow.api.pages.rendering import Links

SEE_OTHER: Final = 303

DONE: Final = {
    "cancel": "It is cancelled.",
    "retry": "It runs again.",
    "run-now": "It is due now.",
    "priority": "It has another priority.",
    "delete": "The task is deleted.",
    "run": "It is asked for.",
    "pause": "It is paused.",
    "resume": "It goes on.",
    "confirm": "It is confirmed: the leader runs it.",
    "stop": "It ends before its next batch.",
}
"""What was done, by the word that stands in the address after it; other words mean nothing."""


async def get_page_actor(request: Request) -> Actor:
    """Who acts on a page, as the audit says it."""
    return replace(get_actor(request), face="page")


PageActor = Annotated[Actor, Depends(get_page_actor)]

Reason = Annotated[str, Form(max_length=LONGEST_REASON)]
"""Why somebody acts; empty: nobody has said it."""


def done(request: Request, path: str, act: str, **words: object) -> Response:
    """Back to a page of ours after an act: reloading it acts no second time."""
    link = Links(request.scope.get("root_path", ""))
    return RedirectResponse(link(path, did=act, **words), SEE_OTHER)


def what_was_done(request: Request) -> str | None:
    """The sentence about what has led to this page; None: nothing that we know."""
    return DONE.get(request.query_params.get("did", ""))


def words_of(given: Sequence[str] | None) -> list[tuple[str, str]]:
    """The words of a filter that a form has sent along, each as ``word=value``."""
    halves = [one.partition("=") for one in given or ()]
    return [(word, value) for word, _, value in halves if word and value]
