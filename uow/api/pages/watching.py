"""Pages that are looked at: each is rendered once for all who look at it, when something happens.

One address in the eyes of one role is one page. It is asked for again when a task that it may show
has changed, and from time to time, for what no hint tells of (rates, ages, a pause). The first
change after a quiet time is shown at once; when much happens, the pauses grow with what the pages
cost, so that all of them together take a tenth of a processor, however many are open.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from fastapi import HTTPException
from pydantic_core import to_json
from starlette.types import Scope

from uow.api.pages.asking_again import PageAnswer, ask_again, glance
from uow.api.problems import RETRY_AFTER
from uow.api.roles import Role
from uow.api.streams import Streams
from uow.questions.following import Following

logger = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 30.0

SHARE = 0.1
"""Of one processor, for all pages that are looked at."""

SEND_SECONDS = 0.0003
"""What one more who looks costs, with each frame."""

QUIET_SECONDS = 5.0
"""After which a page is asked for again though nothing was told."""

CHECK_SECONDS = 10.0
"""Within which it is noticed that somebody may not look any more."""

MOST_VIEWERS = 500
AT_ONCE = 2
"""Pages that are rendered at the same time: connections to Postgres, beside the routes'."""

OK: Final = 200
FORBIDDEN: Final = 403
REFUSED: Final = frozenset({302, 303, 307, 401, 403, 429})
"""Said to one who looks; other answers are about the page."""


@dataclass(frozen=True, slots=True)
class PageAddress:
    """What is looked at, and in whose eyes: all that a page's regions may depend on."""

    host: str
    root_path: str
    path: str
    query: bytes
    role: Role


@dataclass(eq=False, slots=True)
class Viewer:
    """One who looks at a page.

    Attributes:
        scope: The request with which the stream was opened.
        checked_at: When it was last known that this one may look, on the loop's clock.
        due: Set when there may be something to tell.
        after: The renders that had begun when this one came: what they show may be older than what
            is on the screen.
        seen: The newest change that this one has been told of.
        troubled: Whether it was told that the servers do not answer.
        over: The status with which the stream ends.
    """

    scope: Scope
    checked_at: float
    after: int = 0
    seen: int = 0
    troubled: bool = False
    over: int | None = None
    due: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, status: int) -> None:
        """Tell this one that there is nothing more to see."""
        self.over = status
        self.due.set()

    def refusal(self, answer: PageAnswer) -> int | None:
        """The status of it, if this one may not look any more, or in another role only."""
        if answer.status in REFUSED:
            return answer.status
        return None if answer.role == self.scope["state"]["role"] else FORBIDDEN


class Watched:
    """One page, while somebody looks at it.

    Args:
        of: All that are looked at.
        what: Whose changes it may show.
    """

    def __init__(self, of: "Watching", what: Following) -> None:
        self.cost = 0.0
        self._of = of
        self._what = what
        self._viewers: dict[Viewer, None] = {}
        self._regions: dict[str, str] = {}
        self._changed: dict[str, int] = {}  # the change that each region had last
        self._frames: dict[int, bytes] = {}  # by the change that is known already
        self._status = OK
        self._change = self._begun = self._done = 0
        self._wanted = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._viewers)

    def add(self, viewer: Viewer) -> None:
        """Somebody begins to look."""
        viewer.after = self._begun
        self._viewers[viewer] = None
        self._wanted.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run(), name=f"uow.page.{self._what}")

    async def remove(self, viewer: Viewer) -> None:
        """Somebody looks no more; when nobody is left, it is rendered no more."""
        del self._viewers[viewer]
        if not self._viewers and self._loop is not None:
            loop, self._loop = self._loop, None
            loop.cancel()
            await asyncio.wait([loop])

    def frame(self, viewer: Viewer) -> bytes | None:
        """What this one does not know yet, as an event; None: there is nothing."""
        if viewer.over is not None:
            return _event("over", {"status": viewer.over})
        if self._done <= viewer.after:
            return None
        if self._status != OK:
            known, viewer.troubled = viewer.troubled, True
            return None if known else _event("trouble", {"status": self._status})
        if viewer.seen == self._change and not viewer.troubled:
            return None
        seen, viewer.seen, viewer.troubled = viewer.seen, self._change, False
        if seen not in self._frames:
            told = {one: self._regions[one] for one, at in self._changed.items() if at > seen}
            self._frames[seen] = _event("regions", told)
        return self._frames[seen]

    async def _run(self) -> None:
        try:
            async with self._of.streams.following(self._what) as stream:
                while True:
                    self._wanted.clear()
                    stream.take()
                    await self._render()
                    pause = self._of.pause()
                    await asyncio.sleep(pause)
                    await _first(stream.due, self._wanted, max(QUIET_SECONDS, pause))
        except HTTPException as error:
            self._end_all(error.status_code)
        except Exception:
            logger.exception("a page cannot be watched")
            self._end_all(500)

    async def _render(self) -> None:
        async with self._of.rendering:
            self._begun += 1
            began = asyncio.get_running_loop().time()
            answer = await self._ask()
            await self._check(began)
            self.cost = asyncio.get_running_loop().time() - began
        self.cost += len(self) * SEND_SECONDS
        self._done = self._begun
        if answer is not None:
            self._take(answer)
        for viewer in self._viewers:
            viewer.due.set()

    async def _ask(self) -> PageAnswer | None:
        """Ask as one who looks; who may not any more goes, and the next one asks."""
        for viewer in [*self._viewers]:
            if viewer.over is not None:
                continue
            answer = await ask_again(viewer.scope)
            refusal = viewer.refusal(answer)
            if refusal is None:
                viewer.checked_at = asyncio.get_running_loop().time()
                return answer
            viewer.end(refusal)
        return None

    async def _check(self, now: float) -> None:
        """Who else looks, and may not any more, or has another role, is told nothing from here."""
        for viewer in [*self._viewers]:
            if viewer.over is None and viewer.checked_at < now - CHECK_SECONDS:
                refusal = viewer.refusal(await glance(viewer.scope))
                viewer.checked_at = now
                if refusal is not None:
                    viewer.end(refusal)

    def _take(self, answer: PageAnswer) -> None:
        self._status = answer.status
        if answer.status == OK:
            self._compare(answer.regions)
        elif answer.status < 500:
            self._end_all(answer.status)

    def _compare(self, regions: Mapping[str, str]) -> None:
        """Note which regions are others now; one that is gone is empty."""
        gone = dict.fromkeys(self._regions.keys() - regions.keys(), "")
        changed = [
            (named, html)
            for named, html in {**regions, **gone}.items()
            if self._regions.get(named) != html
        ]
        if not changed:
            return
        self._change += 1
        self._frames.clear()
        self._regions.update(changed)
        self._changed.update((named, self._change) for named, _ in changed)

    def _end_all(self, status: int) -> None:
        for viewer in self._viewers:
            viewer.end(status)


class Watching:
    """All pages of a process that somebody looks at.

    Args:
        streams: What tells that tasks have changed.
    """

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.rendering = asyncio.Semaphore(AT_ONCE)
        self._pages: dict[PageAddress, Watched] = {}

    def __len__(self) -> int:
        return sum(map(len, self._pages.values()))

    @contextlib.asynccontextmanager
    async def looking(
        self, address: PageAddress, viewer: Viewer, what: Following
    ) -> AsyncIterator[Watched]:
        """The page, for as long as the block lasts.

        Raises:
            HTTPException: 503, there are `MOST_VIEWERS`, or the process is about to stop.
        """
        if self.streams.closing.is_set() or len(self) >= MOST_VIEWERS:
            raise HTTPException(503, "no more live pages here; try again", RETRY_AFTER)
        page = self._pages.get(address)
        if page is None:
            page = self._pages[address] = Watched(self, what)
        page.add(viewer)
        try:
            yield page
        finally:
            if len(page) == 1:
                del self._pages[address]
            await page.remove(viewer)

    def pause(self) -> float:
        """Seconds between two renders of a page, so that all pages keep to their share."""
        cost = sum(page.cost for page in self._pages.values())
        return min(max(SHORTEST_PAUSE, cost / SHARE), LONGEST_PAUSE)


def followed_on(path_params: Mapping[str, object]) -> Following:
    """Whose changes a page may show: one task's, one user's, or everybody's."""
    task = path_params.get("task_id")
    user = path_params.get("user", path_params.get("user_id"))
    with contextlib.suppress(ValueError):
        return Following(
            task=None if task is None else UUID(str(task)),
            user=None if user is None else str(user),
        )
    return Following()


def _event(name: str, data: Mapping[str, object]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), to_json(data))


async def _first(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    """Return when one of them is set, or after so long."""
    waits = [asyncio.create_task(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
