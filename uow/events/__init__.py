"""What happens to tasks and processes, as values: what `@on` listens to.

The kinds are tables in ``docs/events.md``. The fields have the same names in log lines, metrics and
spans.
"""

from uow.events.processes import (
    LoopBlocked,
    ScheduleInCode,
    ServerAway,
    ServerBack,
    TickFired,
    TickMissed,
    WorkerStarted,
    WorkerStopped,
)
from uow.events.spine import Event
from uow.events.tasks import (
    AttemptEnded,
    AttemptStarted,
    TaskEnqueued,
    TaskEvent,
    TaskSettled,
    TaskTakenBack,
)

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "Event",
    "LoopBlocked",
    "ScheduleInCode",
    "ServerAway",
    "ServerBack",
    "TaskEnqueued",
    "TaskEvent",
    "TaskSettled",
    "TaskTakenBack",
    "TickFired",
    "TickMissed",
    "WorkerStarted",
    "WorkerStopped",
]
