"""Enqueueing in the transaction of a `Session`, as ``f.enqueue`` does in that of an `AsyncSession`.

The core is the same (`uow.tasks.enqueue.write_in`): so are arguments, options, unique keys, and the
push after the outermost COMMIT.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

from sqlalchemy.exc import InvalidRequestError, MissingGreenlet, ResourceClosedError

from uow.errors import EnqueueError, SessionEnded
from uow.sync.handle import TaskHandle
from uow.tasks.binding import SyncCaller, sync_place_of
from uow.tasks.enqueue import Enqueueable, Request, WrittenTasks, refuse_rowless, write_in
from uow.tasks.outlets import sync_reader_of
from uow.tasks.reference import target_of

P = ParamSpec("P")
R = TypeVar("R")


@overload
def enqueue(
    session: SyncCaller, task: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> TaskHandle[R]: ...


@overload
def enqueue(session: SyncCaller, task: str, /, **arguments: object) -> TaskHandle[Any]: ...


def enqueue(
    session: SyncCaller, task: Enqueueable[Any, Any] | str, /, *args: Any, **kwargs: Any
) -> TaskHandle[Any]:
    """Write a task in the caller's transaction: it runs if that commits.

    Args:
        session: A `Session`, a `scoped_session` or a `Connection` of SQLAlchemy's.
        task: A task function, one with options (``f.options(…)``), or a name.
        *args: Of the task function.
        **kwargs: Of the task function.

    Raises:
        EnqueueError: The arguments or options do not fit, the name is unknown, the task is
            `durable=False`, or `session` is something else; nothing was written.
        SchemaError: Our tables are not there, or the session's role may not write into them.
        SessionEnded: It is closed for good.
    """
    target = target_of(task)
    return _written_in(session, target.request_many([target.bind(args, kwargs)]))[0]


@overload
def enqueue_many(
    session: SyncCaller, task: Enqueueable[Any, R], many: Iterable[Mapping[str, object]], /
) -> list[TaskHandle[R]]: ...


@overload
def enqueue_many(
    session: SyncCaller, task: str, many: Iterable[Mapping[str, object]], /
) -> list[TaskHandle[Any]]: ...


def enqueue_many(
    session: SyncCaller, task: Enqueueable[Any, Any] | str, many: Iterable[Mapping[str, object]], /
) -> list[TaskHandle[Any]]:
    """Write one task per element of `many` (arguments by name), all in one statement.

    Raises:
        EnqueueError: As `enqueue`, or there is a unique key and more than one task.
        SchemaError, SessionEnded: As `enqueue`.
    """
    return _written_in(session, target_of(task).request_many(dict(one) for one in many))


def _written_in(session: SyncCaller, request: Request[R]) -> list[TaskHandle[R]]:
    refuse_rowless(request)
    place = sync_place_of(session)
    if not request.arguments:
        return []
    try:
        return handles_for(request, write_in(place, request))
    except MissingGreenlet:
        raise EnqueueError(
            "this is the sync half of an AsyncSession, away from its greenlet: write "
            "await f.enqueue(session, …), or session.run_sync(uow.sync.enqueue, f, …)"
        ) from None
    except (ResourceClosedError, InvalidRequestError) as error:
        if "closed" in str(error):
            raise SessionEnded(f"the {type(place).__name__} is closed: {error}") from error
        raise


def handles_for(request: Request[R], written: WrittenTasks) -> list[TaskHandle[R]]:
    """The handles of tasks of `request`; they ask the client that is open for the database."""
    reader = partial(sync_reader_of, written.engine)
    return [
        TaskHandle(id_, request.name, reader, request.decode, created=written.created)
        for id_ in written.ids
    ]
