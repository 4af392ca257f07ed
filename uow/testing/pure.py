"""`perform`: a task function without any server, for what needs none."""

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from uow.attempt.callbacks import CALLBACKS_SECONDS
from uow.attempt.calling import Calling
from uow.attempt.open_sessions import OpenSessions
from uow.attempt.perform import perform as perform_attempt
from uow.clock import utcnow
from uow.db.statement import SILENT_SECONDS, Records, Statement
from uow.errors import WorkerError
from uow.ids import new_id
from uow.settings.environment import Settings
from uow.tasks.after_commit import AfterCommit
from uow.tasks.context import RunningTask
from uow.tasks.function import TaskFunction
from uow.tasks.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Retrying,
    Snooze,
    Snoozed,
    Stray,
)
from uow.tasks.registry import Registry
from uow.testing.errors import NotAvailable
from uow.testing.nowhere import redis_nowhere

P = ParamSpec("P")
R = TypeVar("R")


class _NoDatabase:
    """What `ctx["db"]` is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.sessions = OpenSessions()
        self.after_commit = AfterCommit(name)

    @property
    def get_session(self) -> Callable[[], AbstractAsyncContextManager[AsyncSession]]:
        raise NotAvailable(
            f'{self._name} opens a session, and perform() has no database: use the fixture "tasks" '
            "(await tasks.run(…)), which works in your test's own transaction"
        )

    async def execute_once(self, statement: Statement, *, limit: float = SILENT_SECONDS) -> Records:
        return [("reported",)]  # progress: nobody looks at it

    def transaction(self, *, limit: float = SILENT_SECONDS) -> Any:
        return self.get_session

    def begin_attempt(self, timeout: float) -> Any:
        return self.get_session


@dataclass(frozen=True, slots=True)
class _Alone:
    """A process that has the function and nothing else, no middleware either."""

    registry: Registry = field(default_factory=Registry)
    settings: Settings = field(default_factory=Settings)
    calling: Calling = field(default_factory=Calling)
    rng: random.Random = field(default_factory=random.Random)


async def perform(
    f: TaskFunction[P, R], context: Mapping[str, Any] | None = None, /, **arguments: Any
) -> R:
    """Call a task function as an attempt does, without a server, and return its result.

    Arguments and result are checked and go through JSON, and the timeout holds, as in reality.
    There is one attempt, no retry and no middleware. Callbacks of `on_commit` are called if it
    succeeds.

    Args:
        f: The task function.
        context: More keys of `ctx`, or others: ``perform(f, {"http": fake}, order_id=1)``.
        **arguments: Of the task.

    Raises:
        BaseException: What the function has raised: its own error, Retry, Snooze, Cancel.
        InvalidArguments, InvalidResult, TaskTimeout: As in an attempt.
        NotAvailable: It has opened a session.
    """
    written = f.signature.encode_arguments(arguments).decode()
    db = _NoDatabase(f.name)
    task = _running(f, db)
    outcome = await perform_attempt(_Alone(), f, _context(task, db, context), written)
    match outcome:
        case Completed(result):
            await db.after_commit.call_all(CALLBACKS_SECONDS)
            return f.signature.decode_result(result)
        case Failed(error) | Retrying(_, error) | Cancelled(error):
            raise error
        case Snoozed(delay):
            raise Snooze(delay)
        case Stray(fault):
            raise fault
        case HandedBack(reason=reason):
            raise outcome.stopped_by or outcome.error or WorkerError(reason)


def _context(task: RunningTask, db: _NoDatabase, more: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "db": db, "task": task, "redis": redis_nowhere(), "settings": Settings(),
        "job_id": task.idempotency_key, "job_try": 1, "enqueue_time": utcnow(), "score": 0,
        **(more or {}),
    }  # fmt: skip


def _running(f: TaskFunction[Any, Any], db: _NoDatabase) -> RunningTask:
    id_: UUID = new_id()
    return RunningTask(
        db=db, id=id_ if f.durable else None, name=f.name, attempt=1, tries=0, user_id=None,
        queue=Settings().queue, idempotency_key=str(id_), after_commit=db.after_commit,
    )  # fmt: skip
