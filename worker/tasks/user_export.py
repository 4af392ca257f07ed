"""Gives a user a copy of everything that is known about them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from uow import TaskContext, task
from uow.db.models import Task
from worker.errors import FileRefused, UserNotFound
from worker.models import User
from worker.settings import settings_of
from worker.tasks.archive import Records, write_archive
from worker.tasks.storage import resolve_inside
from worker.users import UserId, require_user

EXPORTS = "exports"
"""Folder in ``WORKER_STORAGE_DIR``."""

TASKS_AT_ONCE = 20
"""In memory; with arguments and results as large as they may be, some 40 MB of JSON."""

_OF_A_TASK = ("id", "name", "state", "args", "result", "progress", "created_at", "started_at",
              "settled_at")  # fmt: skip
"""What of a task is the user's; the rest is about our machinery."""


@task("users.export_data", final=(UserNotFound, FileRefused), atomic=False)
async def export_data(ctx: TaskContext, user_id: UserId) -> str:
    """Write a user's profile and tasks into a ZIP archive that only its owner can read.

    The archive is there whole or not at all; a repetition replaces it. However many tasks the
    user has, few of them are in memory at once.

    Returns:
        Its path in ``WORKER_STORAGE_DIR``.

    Raises:
        UserNotFound: There is no such user; final.
        FileRefused: The folder `exports` leads out of the storage folder; final.
    """
    path = f"{EXPORTS}/user-{user_id}-{ctx['task'].idempotency_key}.zip"
    target = await asyncio.to_thread(resolve_inside, settings_of(ctx).storage_dir, path)
    async with ctx["db"].get_session() as session:
        profile = _profile_of(await require_user(session, user_id))
    tasks = await asyncio.to_thread(Records, target.parent)
    with contextlib.closing(tasks):
        async with ctx["db"].get_session() as session:
            async for some in _tasks_of(session, user_id):
                await asyncio.to_thread(tasks.add, some)
        await asyncio.to_thread(write_archive, target, profile, tasks)
    return path


async def _tasks_of(session: AsyncSession, user_id: int) -> AsyncIterator[list[dict[str, Any]]]:
    """The user's tasks as of one moment, the oldest first, some at a time."""
    of_the_user = select(Task).where(Task.user_id == str(user_id)).order_by(Task.created_at)
    found = await session.stream_scalars(of_the_user.execution_options(yield_per=TASKS_AT_ONCE))
    async for some in found.partitions():
        yield [_data_of(task) for task in some]


def _profile_of(user: User) -> dict[str, Any]:
    return {column.name: getattr(user, column.name) for column in User.__table__.columns}


def _data_of(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in _OF_A_TASK}
