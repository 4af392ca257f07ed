"""Says in Postgres that this process lives and what it runs.

The rescuer of the fleet goes by it: what a process runs is left alone while the process lives, and
taken back when it has died. A worker that cannot say so does not claim either: without Postgres
nothing could start.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Collection
from typing import Protocol
from uuid import UUID

from uow import exhaustion
from uow.db import fleet
from uow.db.code import Code, say_code
from uow.db.database import Database
from uow.db.failures import PASSING, says_away
from uow.db.profile import Profile, Signs
from uow.events.spine import Event
from uow.service import Service
from uow.services.outage import Outage
from uow.settings.environment import Settings
from uow.settings.parts import BEATS_PER_LEASE
from uow.telemetry.description import one_line
from uow.telemetry.release import release

logger = logging.getLogger(__name__)

AWAY = "Postgres is away"

ANSWER_SHARE = 0.6
"""Of the time after which a process counts as dead: so long a heartbeat may take. With the time
between two of them that is less than the whole: who is taken for dead has stopped to claim."""

SAY_AGAIN_SECONDS = 30.0
"""After so long a process says once more what its code has, if nobody could hear it before."""


def _tell_nobody(_: Event) -> None: ...


class ClaimSwitch(Protocol):
    """What claims jobs in this process: it can be told not to."""

    claiming: bool


class Presence(Service):
    """This process's heartbeat.

    Args:
        worker: The process's name in the fleet.
        running: Tells the ids of the tasks it runs.
        claims: What is told when to stop claiming.
        tell: Takes events, on the heart's thread.
        code: The task functions that it has; None: it says nothing of them.

    Attributes:
        signs: Tells how the process is, from the heart's thread.
    """

    passing = PASSING

    def __init__(
        self,
        db: Database,
        worker: str,
        settings: Settings,
        *,
        running: Callable[[], Collection[UUID]],
        claims: ClaimSwitch | None = None,
        tell: Callable[[Event], object] = _tell_nobody,
        on_death: Callable[[BaseException], None] | None = None,
        code: Code | None = None,
    ) -> None:
        super().__init__(settings.lease_seconds / BEATS_PER_LEASE, on_death)
        self.worker = worker
        self.signs: Callable[[], Signs] = Signs
        self._profile = profile_of(settings, code)
        self._code = code
        self._say_code_at = float("-inf")
        self._dead_after = settings.dead_after
        self._limit = ANSWER_SHARE * settings.dead_after
        self._db = db
        self._app = settings.app
        self._queues = list(settings.served_queues)
        self._running = running
        self._outage = Outage("postgres", tell)
        self._claims = claims
        if claims is not None:
            claims.claiming = False  # until the fleet knows of this process
        self._last = self._since = float("-inf")
        self._beaten = self._leaving = False
        self._trouble: str | None = None

    @property
    def may_judge(self) -> bool:
        """Whether this process has been in touch long enough to tell that others are not.

        After an outage, or a stall of its own, everybody looks dead.
        """
        now = time.monotonic()
        in_touch = now - self._last <= self._dead_after
        return in_touch and now - self._since >= self._dead_after

    @property
    def trouble(self) -> str | None:
        """Why this process claims nothing; None: it does. From any thread."""
        if exhaustion.here.lasts():
            return "the process is out of file descriptors or memory"
        if time.monotonic() - self._last > self._dead_after:
            return self._trouble or "no heartbeat yet"
        return None

    async def run_once(self) -> None:
        """One heartbeat."""
        running = list(self._running())
        try:
            await self._beat(running)
        except self.passing as error:
            exhaustion.here.explains(error)
            if says_away(error):
                self._outage.begins(error)
            self._stop_claiming(AWAY if says_away(error) else f"no heartbeat ({one_line(error)})")
            raise
        self._outage.ends()
        now = time.monotonic()
        if now - self._last > self._dead_after:
            self._since = now
        self._last = now
        self._let_claim(not exhaustion.here.lasts())
        self._beaten, self._trouble = True, None
        await self._say_code()

    def suspend(self) -> None:
        """Postgres has not answered: claim nothing until it does."""
        self._stop_claiming(AWAY)
        self.wake()

    def prepare_to_leave(self) -> None:
        """The process has been told to stop: whatever ends it now, no task is to blame."""
        self._leaving = True
        self.wake()

    async def stop(self) -> None:
        """End, and say that what is left behind did not kill us."""
        await super().stop()
        with contextlib.suppress(*self.passing):
            await fleet.leave(self._db, self.worker, limit=self._limit)

    async def _beat(self, running: list[UUID]) -> None:
        returned = await fleet.beat(
            self._db,
            self.worker,
            app=self._app,
            queues=self._queues,
            running=running,
            leaving=self._leaving,
            profile=self._profile,
            signs=self._signs(),
            limit=self._limit,
        )
        if returned:
            self._say_code_at = float("-inf")
        if returned and self._beaten:
            logger.warning("taken for dead meanwhile: was this process stopped or blocked?")
            await fleet.acquit(self._db, running, limit=self._limit)

    def _signs(self) -> Signs:
        try:
            return self.signs()
        except Exception:  # what is shown to people stops no heartbeat
            logger.warning("cannot tell how this process is", exc_info=True)
            self.signs = Signs
            return Signs()

    async def _say_code(self) -> None:
        """Say which task functions there are; without it that is unknown of this process."""
        if self._code is None or time.monotonic() < self._say_code_at:
            return
        try:
            await say_code(self._db, self._code, limit=self._limit)
        except self.passing as error:
            self._say_code_at = time.monotonic() + SAY_AGAIN_SECONDS
            logger.warning("cannot say which task functions are here: %s", one_line(error))
        else:
            self._say_code_at = float("inf")

    def _stop_claiming(self, trouble: str) -> None:
        self._last = float("-inf")
        self._trouble = None if exhaustion.here.lasts() else trouble
        self._let_claim(False)

    def _let_claim(self, allowed: bool) -> None:
        if self._claims is None or self._claims.claiming is allowed:
            return
        self._claims.claiming = allowed
        if not allowed and self._trouble is not None:
            logger.warning("%s: claims nothing", self._trouble)
        elif allowed and self._beaten and self._trouble is not None:
            what = "Postgres is back" if self._trouble == AWAY else "a heartbeat again"
            logger.warning("%s: claims again", what)


def profile_of(settings: Settings, code: Code | None) -> Profile:
    """What this process says of itself."""
    return Profile(
        host=socket.gethostname(),
        pid=os.getpid(),
        version=release(),
        slots=settings.concurrency,
        code=None if code is None else code.fingerprint,
        lease_seconds=settings.lease_seconds,
        unknown_task_grace=settings.unknown_task_grace,
    )
