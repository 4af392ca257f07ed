"""Only type-checked, by several checkers without a plugin: enqueueing without asyncio."""

from typing import Any, assert_type

import psycopg
from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

import uow.sync
from uow import TaskContext, TaskRef, task


@task("typed.sync")
async def double(ctx: TaskContext, n: int, times: int = 2) -> int:
    return times * n


def enqueue(
    session: Session,
    scoped: scoped_session[Session],
    connection: Connection,
    cursor: psycopg.Cursor,
    client: uow.sync.TaskClient,
) -> None:
    handle = uow.sync.enqueue(session, double, n=1)
    assert_type(handle, uow.sync.TaskHandle[int])
    assert_type(handle.result(timeout=1), int)
    assert_type(uow.sync.enqueue(scoped, double, 1, times=3), uow.sync.TaskHandle[int])
    configured = double.options(delay=1)
    assert_type(uow.sync.enqueue(connection, configured, n=1), uow.sync.TaskHandle[int])
    assert_type(uow.sync.enqueue(session, TaskRef("typed.sync"), n=1), uow.sync.TaskHandle[Any])
    assert_type(uow.sync.enqueue(session, "typed.sync", n=1), uow.sync.TaskHandle[Any])
    assert_type(uow.sync.enqueue_many(session, double, [{"n": 1}]), list[uow.sync.TaskHandle[int]])
    inserted = uow.sync.enqueue_with_cursor(cursor, double, n=1)
    assert_type(inserted, uow.sync.CursorTaskHandle[int])
    assert_type(client.enqueue(double, n=1), uow.sync.TaskHandle[int])
    by_name = client.enqueue_many("typed.sync", [{"n": 1}])
    assert_type(by_name, list[uow.sync.TaskHandle[Any]])
    by_name = uow.sync.enqueue_many(session, "typed.sync", [{"n": 1}])
    assert_type(client.enqueue("typed.sync", n=1), uow.sync.TaskHandle[Any])
    assert_type(client.enqueue_many(double, [{"n": 1}]), list[uow.sync.TaskHandle[int]])


def refuse(session: Session, cursor: psycopg.Cursor, client: uow.sync.TaskClient) -> None:
    uow.sync.enqueue(session, double, n="1")  # type: ignore[call-overload]
    uow.sync.enqueue(session, double)  # type: ignore[call-overload]
    uow.sync.enqueue(session, double, n=1, m=2)  # type: ignore[call-overload]
    uow.sync.enqueue(cursor, double, n=1)  # type: ignore[call-overload]
    uow.sync.enqueue_with_cursor(cursor, double, n="1")  # type: ignore[call-overload]
    client.enqueue(double, n="1")  # type: ignore[call-overload]
