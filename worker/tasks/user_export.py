"""Gives a user a copy of everything that is known about them."""

import asyncio
from typing import Any

from sqlalchemy import select

from worker import TaskContext, task
from worker.db.models import Task, User
from worker.db.users import UserId, require_user
from worker.errors import FileRefused, UserNotFound
from worker.tasks.archive import write_archive
from worker.tasks.storage import resolve_inside

EXPORTS = "exports"
"""Folder in ``WORKER_STORAGE_DIR``."""

_OF_A_TASK = ("id", "name", "state", "args", "result", "progress", "created_at", "started_at",
              "settled_at")  # fmt: skip
"""What of a task is the user's; the rest is about our machinery."""


@task("users.export_data", final=(UserNotFound, FileRefused), atomic=False)
async def export_data(ctx: TaskContext, user_id: UserId) -> str:
    """Write a user's profile and tasks into a ZIP archive that only its owner can read.

    The archive is there whole or not at all; a repetition replaces it.

    Returns:
        Its path in ``WORKER_STORAGE_DIR``.

    Raises:
        UserNotFound: There is no such user; final.
        FileRefused: The folder `exports` leads out of the storage folder; final.
    """
    async with ctx["db"].get_session() as session:
        user = await require_user(session, user_id)
        of_the_user = select(Task).where(Task.user_id == str(user_id)).order_by(Task.created_at)
        tasks = (await session.scalars(of_the_user)).all()
    path = f"{EXPORTS}/user-{user_id}-{ctx['task'].idempotency_key}.zip"
    target = await asyncio.to_thread(resolve_inside, ctx["settings"].storage_dir, path)
    await asyncio.to_thread(
        write_archive, target, _profile_of(user), [_data_of(task) for task in tasks]
    )
    return path


def _profile_of(user: User) -> dict[str, Any]:
    return {column.name: getattr(user, column.name) for column in User.__table__.columns}


def _data_of(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in _OF_A_TASK}
