"""Enqueueing from code without asyncio: Flask, Django, scripts, threads.

- `enqueue` and `enqueue_many` write in the transaction of a `Session` or a `Connection` of
  SQLAlchemy's, over psycopg or psycopg2 (`in_session.py`).
- `enqueue_with_cursor` writes through a cursor of any driver's, Django's too (`with_cursor.py`).
- `TaskClient` has transactions of its own (`client.py`, `database.py`, `driver.py`), pushes what
  was committed from a thread (`pusher.py`), and answers handles (`handle.py`).

What the async client asks and decides is not written twice: `immediately.py` says why not.
"""

from uow.sync.client import TaskClient
from uow.sync.handle import TaskHandle
from uow.sync.in_session import enqueue, enqueue_many
from uow.sync.with_cursor import CursorTaskHandle, enqueue_with_cursor

__all__ = [
    "CursorTaskHandle",
    "TaskClient",
    "TaskHandle",
    "enqueue",
    "enqueue_many",
    "enqueue_with_cursor",
]
