"""What a worker process does for its metrics, and to tell how it is with each heartbeat."""

import contextlib
from collections.abc import Callable, Iterable
from functools import partial

from uow.attempt.notes import Notes
from uow.attempt.running import Running
from uow.attempt.runtime import Runtime
from uow.db.database import Database
from uow.db.profile import Signs
from uow.events.processes import LoopBlocked
from uow.events.spine import Spine
from uow.metrics.backlog import BacklogWatch, Waiting
from uow.metrics.metrics import Metrics, unobserved, wanted
from uow.metrics.workers import Lag, ObservedWorker, busy_slots, connections_of, signs_of
from uow.process.heart import Heart
from uow.service import Service


class Observation:
    """Of one worker, from one start to the next.

    Args:
        stack: Ends it.
        events: Of the worker; nothing has happened yet.
        notes: Of its attempts.
    """

    def __init__(self, stack: contextlib.AsyncExitStack, events: Spine, notes: Notes) -> None:
        self._stack, self._events = stack, events
        self._metrics: Metrics | None = wanted()
        self._watch: BacklogWatch | None = None
        observed = self._metrics.listening(events, notes) if self._metrics else unobserved()
        stack.enter_context(observed)

    def duties(self, db: Database, on_death: Callable[[BaseException], None]) -> list[Service]:
        """What the leader does for it."""
        if self._metrics is None:
            return []
        self._watch = BacklogWatch(db, on_death)
        return [self._watch]

    def expect(self, schedules: Iterable[str]) -> None:
        """Its code has these schedules."""
        if self._metrics is not None:
            self._metrics.missed.expect(schedules)

    def show(
        self, runtime: Runtime, heart: Heart, running: Running, db: Database
    ) -> Callable[[], Signs]:
        """The worker has started; returns what tells how it is, from any thread."""
        lag, settings = Lag(heart), runtime.settings
        self._events.listen(lag.hear, LoopBlocked)
        worker = ObservedWorker(
            queues=[*settings.served_queues],
            slots=settings.concurrency,
            busy=partial(busy_slots, running, runtime.calling.threads),
            lag=lag,
            connections=partial(connections_of, db.engine),
            waiting=self._waiting,
        )
        if self._metrics is not None:
            self._metrics.workers.append(worker)
            self._stack.callback(self._metrics.workers.remove, worker)
        return partial(signs_of, worker)

    def _waiting(self) -> Waiting | None:
        return None if self._watch is None else self._watch.waiting
