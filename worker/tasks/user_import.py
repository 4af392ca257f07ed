"""Imports users from a CSV file of any size."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from uow import TaskContext, task
from worker.errors import FileRefused
from worker.settings import settings_of
from worker.tasks.user_file import BadLine, Chunk, UserFile
from worker.tasks.users import send_welcome
from worker.users import UserKey, create_users, find_users

BAD_LINES_SHOWN = 100
"""So many bad lines are in the report; all of them are counted."""


class ImportReport(BaseModel):
    """What an import's last attempt did with each row of the file.

    Attributes:
        rows: Rows of the file, the header and empty lines not counted.
        created: Rows that became a user.
        existing: Rows whose user was there, with that username and that email; those that an
            earlier attempt of the task has created are among them.
        bad: Rows that were not imported.
        bad_lines: The first of those, and why.
    """

    rows: int = 0
    created: int = 0
    existing: int = 0
    bad: int = 0
    bad_lines: list[BadLine] = []

    def add_bad(self, lines: list[BadLine]) -> None:
        """Count `lines`, and show them while there is room."""
        self.bad += len(lines)
        self.bad_lines += lines[: BAD_LINES_SHOWN - len(self.bad_lines)]


@task("users.import_csv", final=(FileRefused,), timeout=timedelta(days=1), atomic=False)
async def import_csv(ctx: TaskContext, path: str, welcome: bool = False) -> ImportReport:
    """Create a user for each row of a CSV file and, if asked to, queue the welcome mails.

    Each chunk of rows commits for itself, its users together with their welcome tasks. An attempt
    that is repeated reads the file from the start and finds the users that are there, so each row
    gives one user and one welcome task, whenever the process dies. A bad row is reported and does
    not stop the others.

    Args:
        path: Inside ``WORKER_STORAGE_DIR``. UTF-8 or UTF-16, with commas, semicolons or tabs
            between the columns, and a header that names `username` and `email`; other columns are
            ignored.

    Raises:
        FileRefused: The path leads elsewhere or to no file, it is no CSV, or the header is
            wrong; final.
    """
    report = ImportReport()
    async with _opened(settings_of(ctx).storage_dir, path) as file:
        while chunk := await asyncio.to_thread(file.read_chunk):
            async with ctx["db"].get_session() as session:
                created = await create_users(session, list(chunk.users.values()))
                await _sort_out(session, chunk, created, report)
                if welcome:
                    await send_welcome.enqueue_many(
                        session, [{"user_id": user_id} for user_id in created.values()]
                    )
            await ctx["task"].report(
                percent=file.percent, **report.model_dump(exclude={"bad_lines"})
            )
    return report


@asynccontextmanager
async def _opened(folder: Path, path: str) -> AsyncIterator[UserFile]:
    file = await asyncio.to_thread(UserFile.open, folder, path)
    try:
        yield file
    finally:
        file.close()


async def _sort_out(
    session: AsyncSession, chunk: Chunk, created: dict[UserKey, int], report: ImportReport
) -> None:
    """Say in the report what has become of each row."""
    existing = await find_users(session, list(chunk.users.values()))
    taken = [
        BadLine(line=line, reason="another user has that username or that email")
        for line, user in chunk.users.items()
        if user not in existing
    ]
    bad = sorted(chunk.bad + taken, key=lambda bad: bad.line)
    report.rows += len(chunk)
    report.created += len(created)
    report.existing += len(chunk.users) - len(created) - len(taken)
    report.add_bad(bad)
