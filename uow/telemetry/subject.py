"""What the lines of a log are about: the job at hand, and the attempt of its task.

Each job runs in an asyncio task of its own, so a context variable says it to whatever is logged
there: by us, by arq, by a task function, and in threads that are given the context. It holds an
object that is filled in as more becomes known; nothing is looked up, and no text is made, before a
line is written.
"""

import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Protocol
from uuid import UUID

FIELDS = ("task_id", "task", "job_id", "queue", "user_id", "attempt", "worker", "trace_id")
"""What a line about a task has; None: it is not known, or there is none.

They are those of `uow.events`, but for two names that a record of the log has already: an event's
`id` is `task_id` here, and its `name`, which would be the logger's, `task`, as in the metrics.
"""

TRACEPARENT = "traceparent"
"""The header with the trace that a task was enqueued in (W3C Trace Context)."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Attempted(Protocol):
    """A task that runs, as far as a line tells of it."""

    @property
    def id(self) -> UUID | None:
        """The row's."""

    @property
    def name(self) -> str:
        """Of its function."""

    @property
    def attempt(self) -> int:
        """Its number."""

    @property
    def user_id(self) -> str | None:
        """Whose it is."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What travels with it."""


class Subject:
    """A job, and the attempt of its task as far as it is known.

    Attributes:
        task: The function's name, before an attempt has begun.
        task_id: The row's, likewise.
        attempt: The number of a call of an arq function.
    """

    __slots__ = ("_attempted", "attempt", "job_id", "queue", "task", "task_id")

    def __init__(
        self, job_id: str, queue: str, task: str | None = None, task_id: UUID | None = None
    ) -> None:
        self.job_id = job_id
        self.queue = queue
        self.task = task
        self.task_id = task_id
        self.attempt: int | None = None
        self._attempted: Attempted | None = None

    def is_delivery(self, task: str, task_id: UUID | None) -> None:
        """The job is a delivery of this function's, with that row."""
        self.task, self.task_id = task, task_id

    def is_call(self, task: str, attempt: int) -> None:
        """The job is a call of an arq function, and that its number."""
        self.task, self.attempt = task, attempt

    def is_attempt(self, of: Attempted) -> None:
        """An attempt of it has begun."""
        self._attempted = of

    def fields(self) -> dict[str, object]:
        """All of `FIELDS`; also for a line's ``extra`` that is logged somewhere else."""
        of = self._attempted
        task_id = self.task_id if of is None else of.id
        return {
            "task_id": None if task_id is None else str(task_id),
            "task": self.task if of is None else of.name,
            "job_id": self.job_id,
            "queue": self.queue,
            "user_id": None if of is None else of.user_id,
            "attempt": self.attempt if of is None else of.attempt,
            "worker": worker_here.get(),
            "trace_id": _current_trace() or (None if of is None else trace_of(of.headers)),
        }


worker_here: ContextVar[str | None] = ContextVar("worker_here", default=None)
"""The name of the worker process that this context is of."""

_current: ContextVar[Subject | None] = ContextVar("_current", default=None)


def current() -> Subject | None:
    """What this context is about; None: no job."""
    return _current.get()


def enter(subject: Subject) -> Token[Subject | None]:
    """From now on this context is about `subject`."""
    return _current.set(subject)


def leave(token: Token[Subject | None]) -> None:
    """This context is about what it was about before `enter` has returned `token`."""
    _current.reset(token)


def here(job_id: str, queue: str) -> Subject:
    """What this context is about; if that is not this job yet, from now on it is."""
    subject = _current.get()
    if subject is None or subject.job_id != job_id:
        subject = Subject(job_id, queue)
        _current.set(subject)
    return subject


def fields_here() -> dict[str, object] | None:
    """The fields of a line that is logged in this context; None: it is about no task."""
    subject = _current.get()
    return None if subject is None else subject.fields()


def fields_of(
    *,
    task_id: UUID | None = None,
    task: str | None = None,
    job_id: str | None = None,
    queue: str | None = None,
    attempt: int | None = None,
) -> dict[str, object]:
    """The ``extra`` of a line about a task that this process does not run."""
    return {
        **dict.fromkeys(FIELDS),
        "task_id": None if task_id is None else str(task_id),
        "task": task,
        "job_id": job_id,
        "queue": queue,
        "attempt": attempt,
        "worker": worker_here.get(),
    }


def trace_of(headers: Mapping[str, str], *, sampled: bool = False) -> str | None:
    """The id of the trace that a task was enqueued in; None: of none, or of none that is valid.

    Args:
        sampled: Only of one that somebody has kept.
    """
    found = _TRACEPARENT.fullmatch(headers.get(TRACEPARENT, ""))
    if found is None or (sampled and not int(found[3], 16) & 1):
        return None
    return found[1] if found[1].strip("0") else None


def _current_trace() -> str | None:
    """The id of OpenTelemetry's current trace; who uses it has imported it."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        context = trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None
    except Exception:  # an API of another kind spoils no line
        return None
