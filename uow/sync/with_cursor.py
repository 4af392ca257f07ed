"""Enqueueing through a cursor of any DB-API driver, where there is no SQLAlchemy: Django, psycopg.

Nobody tells us of its COMMIT. So the row is one that the relay looks for at once, as after an
INSERT by hand; `push` is for who hears of the COMMIT, as Django's ``transaction.on_commit`` does.
"""

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload
from uuid import UUID

from uow.broker.scripts import Job
from uow.causes import chain_of
from uow.db import rights
from uow.db.cursor import Cursor, run_with
from uow.db.enqueueing import Inserted, NewTasks
from uow.db.failures import sqlstate
from uow.db.whereabouts import not_there
from uow.errors import ClientClosed, EnqueueError, InvalidOptions, SchemaError
from uow.sync.handle import TaskHandle
from uow.tasks.enqueue import (
    Enqueueable,
    Request,
    hooks_of,
    insert_or_find,
    jobs_of,
    refuse_rowless,
    rows_of,
)
from uow.tasks.outlets import Outlet, outlet_of_cursor, sync_reader_of
from uow.tasks.reference import target_of
from uow.tasks.refusal import UNDEFINED_TABLE

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_IDLE = 0
"""libpq's word for a connection that is in no transaction."""


class CursorTaskHandle(TaskHandle[R_co]):
    """A task that was written through a cursor.

    Attributes:
        jobs: What is to be pushed of it; none if it was there, or is due much later.
    """

    jobs: Sequence[Job] = ()

    def push(self) -> None:
        """Push it, now that its transaction has committed: ``transaction.on_commit(handle.push)``.

        Optional: the relay does. Needs an open `uow.sync.TaskClient`; without one it does nothing.
        """
        with contextlib.suppress(ClientClosed):
            self._reader().announce(self.jobs)


_LENT = "uow.db.lent"
"""The cursors of a sync task's session: on the attempt's connection, which is asyncpg's."""


@overload
def enqueue_with_cursor(
    cursor: Cursor, task: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> CursorTaskHandle[R]: ...


@overload
def enqueue_with_cursor(
    cursor: Cursor, task: str, /, **arguments: object
) -> CursorTaskHandle[Any]: ...


def enqueue_with_cursor(
    cursor: Cursor, task: Enqueueable[Any, Any] | str, /, *args: Any, **kwargs: Any
) -> CursorTaskHandle[Any]:
    """Write a task in the transaction of a cursor's connection: it runs if that commits.

    Args:
        cursor: Of psycopg, psycopg2, Django's ``connection.cursor()``, or any other one to a
            Postgres whose parameters are written ``%s``.
        task: A task function, one with options (``f.options(…)``), or a name.
        *args: Of the task function.
        **kwargs: Of the task function.

    Raises:
        EnqueueError: As `uow.sync.enqueue`; or the connection commits each statement by itself.
        SchemaError: Our tables are not there, or the role may not write into them.
        Exception: What the driver says of anything else.
    """
    target = target_of(task)
    request = target.request_many([target.bind(args, kwargs)])
    refuse_rowless(request)
    _refuse_what_is_none(cursor, request)
    return _written_with(cursor, request, outlet_of_cursor())


def _written_with(cursor: Cursor, request: Request[R], outlet: Outlet) -> CursorTaskHandle[R]:
    with hooks_of(request, outlet.queue) as hooks:
        new = rows_of(request, outlet, hooks.headers)
        rows, holder = _insert_or_explain(cursor, request, outlet, new)
        task_id = new.ids[0] if holder is None else UUID(str(holder))  # psycopg2 may give a text
        hooks.written([task_id])
    handle = CursorTaskHandle(
        task_id, request.name, partial(sync_reader_of, None), request.decode,
        created=holder is None,
    )  # fmt: skip
    handle.jobs = jobs_of(rows, new)
    return handle


def _insert_or_explain(
    cursor: Cursor, request: Request[Any], outlet: Outlet, new: NewTasks
) -> tuple[list[Inserted], UUID | None]:
    try:
        return insert_or_find(partial(run_with, cursor, outlet.schema), request, new)
    except Exception as error:
        if (refusal := _refusal_of(error, outlet)) is not None:
            raise refusal from error
        raise


def _refuse_what_is_none(cursor: Cursor, request: Request[Any]) -> None:
    if not (hasattr(cursor, "execute") and hasattr(cursor, "fetchall")):
        raise EnqueueError(
            f"{type(cursor).__name__} is no cursor: uow.sync.enqueue_with_cursor(cursor, f, …) "
            "needs one, as connection.cursor() gives, as the first argument"
        )
    if type(cursor).__module__ == _LENT:
        raise EnqueueError(
            f"{type(cursor).__name__} is a cursor of asyncpg's, whose parameters are not written "
            "%s: give its session, as uow.sync.enqueue(session, f, …)"
        )
    if request.options.bind is not None:
        raise InvalidOptions(f"{request.name}: bind= is for a session; a cursor has one connection")
    connection = getattr(cursor, "connection", None)
    if getattr(connection, "autocommit", False) is True and not _has_begun(connection):
        raise InvalidOptions(
            "this cursor's connection commits each statement by itself, so the task would run "
            "whatever you roll back: enqueue it in a transaction (in Django: "
            "with transaction.atomic():)"
        )


def _has_begun(connection: Any) -> bool:
    """Whether a statement has begun a transaction, as psycopg's ``connection.transaction()``."""
    status = getattr(getattr(connection, "info", None), "transaction_status", _IDLE)
    return bool(status != _IDLE)


def _refusal_of(error: Exception, outlet: Outlet) -> SchemaError | None:
    """What the driver's error means; Django's own has it as its cause."""
    for link in chain_of(error, "__cause__"):
        if sqlstate(link) == rights.REFUSED:
            return rights.to_enqueue(outlet.schema, None, link)
        if sqlstate(link) == UNDEFINED_TABLE:
            return not_there(outlet.schema, (), given=True)
    return None
