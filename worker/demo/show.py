"""What a person sees of the demo."""

import asyncio
import contextlib
import shlex
import shutil
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import text

from worker.demo.check import Summary, summarize
from worker.demo.house import House, exports, open_house
from worker.errors import WorkerError
from worker.execution.handle import TaskHandle
from worker.tasks.user_export import export_data
from worker.tasks.user_file import UserFile
from worker.tasks.user_import import import_csv

SAMPLE = Path(__file__).with_name("users.csv")

EXPORTS = 40
"""Users whose data are exported, one after the other on an idle worker: the latency's sample."""

REFRESH_SECONDS = 0.1
PATIENCE_SECONDS = 120
"""Without any progress for this long the demo gives up."""

console = Console()


def show(users: Path | None, *, keep: bool) -> int:
    """Run the demo and return its exit code: 0 only if the check holds.

    Raises:
        WorkerError: A server or the worker did not start, or the file is not a list of users.
    """
    source = users or SAMPLE
    return asyncio.run(_show(source, _usernames(source), keep=keep))


async def _show(source: Path, usernames: list[str], *, keep: bool) -> int:
    began = time.perf_counter()
    with console.status("starting Postgres, Redis, a mail sink and a worker …"):
        house_opened = open_house()
        house = await house_opened.__aenter__()
    try:
        console.print(f"started in {time.perf_counter() - began:.1f} s")
        await _import(house, source, len(usernames))
        await _export_some(house)
        summary = await summarize(house, usernames)
        _print(summary, len(house.mail.received))
        if keep:
            await _keep(house)
        return 0 if summary.holds else 1
    finally:
        await house_opened.__aexit__(None, None, None)


async def _import(house: House, source: Path, rows: int) -> None:
    """Import the file and wait until everybody is welcomed."""
    shutil.copy(source, house.settings.storage_dir / "users.csv")
    handle = await house.client.enqueue(import_csv, path="users.csv", welcome=True)
    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console) as progress:
        created = progress.add_task("users created", total=rows)
        welcomed = progress.add_task("users welcomed", total=rows)
        last, since = (-1, -1), time.monotonic()
        while not await _settled(house, handle):
            house.check_worker()
            now = await _counts(house)
            progress.update(created, completed=now[0])
            progress.update(welcomed, completed=now[1])
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > PATIENCE_SECONDS:
                raise WorkerError(f"no progress for {PATIENCE_SECONDS} s; see {house.log}")
            await asyncio.sleep(REFRESH_SECONDS)
        now = await _counts(house)
        progress.update(created, completed=now[0])
        progress.update(welcomed, completed=now[1])
    report = await handle.result()
    for bad in report.bad_lines:
        console.print(f"[yellow]line {bad.line}: {bad.reason}[/yellow]")


async def _export_some(house: House) -> None:
    async with house.db.get_session() as session:
        found = await session.execute(text("SELECT id FROM users ORDER BY id LIMIT :n"),
                                      {"n": EXPORTS})  # fmt: skip
        ids = list(found.scalars())
    with Progress(TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=console) as progress:  # fmt: skip
        exported = progress.add_task("exports", total=len(ids))
        for user_id in ids:
            options = export_data.options(user_id=user_id)
            await (await house.client.enqueue(options, user_id=user_id)).result(PATIENCE_SECONDS)
            progress.advance(exported)


async def _settled(house: House, handle: TaskHandle[object]) -> bool:
    """Whether the import and every welcome are settled."""
    if not (await handle.status()).settled:
        return False
    async with house.db.get_session() as session:
        return not await session.scalar(
            text("SELECT EXISTS (SELECT FROM task WHERE settled_at IS NULL)")
        )


async def _counts(house: House) -> tuple[int, int]:
    async with house.db.get_session() as session:
        found = await session.execute(text("SELECT count(*), count(welcomed_at) FROM users"))
        users, welcomed = found.one()
        return users, welcomed


def _print(summary: Summary, mails: int) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for state, tasks in summary.by_state.items():
        table.add_row(f"tasks {state}", f"{tasks:,}")
    table.add_row("welcome tasks per second", f"{summary.tasks_per_second:,.0f}")
    table.add_row("start latency p50 / p99", f"{summary.latency_p50_ms:.0f} ms / "
                                             f"{summary.latency_p99_ms:.0f} ms")  # fmt: skip
    table.add_row("mails received", f"{mails:,} ({summary.duplicate_mails} repeated)")
    console.print(table)
    if summary.holds:
        console.print(
            f"[green]✓ each of {summary.rows:,} rows has exactly one user and one welcome[/]"
        )
        return
    for error in summary.errors:
        console.print(error, markup=False)
    if not summary.rows:
        console.print("[red]✗ the file has no row that could be imported[/]")
        return
    shown = ", ".join(summary.wrong_rows[:10])
    console.print(f"[red]✗ the check does not hold; rows without exactly one user and one "
                  f"welcome: {len(summary.wrong_rows):,} {shown}[/]")  # fmt: skip


async def _keep(house: House) -> None:
    """Leave everything running, and say how to look at it."""
    console.print("\nEverything is still running. In another shell:\n")
    for name, value in exports(house.settings).items():
        if name in ("WORKER_DATABASE_URL", "WORKER_REDIS_URL"):
            console.print(f"export {name}={shlex.quote(value)}", highlight=False, soft_wrap=True)
    console.print(
        "\nuv run worker enqueue users.create username=new email=new@example.org "
        f"--queue {house.settings.queue} --wait\n"
        "uv run worker api    # then http://127.0.0.1:8000/users/1\n"
        f"tail -f {house.log}\n\nCtrl-C ends it.",
        highlight=False,
        soft_wrap=True,
    )
    try:
        while True:
            house.check_worker()
            await asyncio.sleep(1)
    except asyncio.CancelledError:  # Ctrl-C
        return


def _usernames(source: Path) -> list[str]:
    """The usernames that the file gives: of rows that are valid and take nobody's name or email."""
    if not source.is_file():
        raise WorkerError(f"there is no file {source}")
    seen: set[str] = set()
    usernames: list[str] = []
    with contextlib.closing(UserFile.open(source.parent, source.name)) as file:
        while chunk := file.read_chunk():
            for username, email in chunk.users.values():
                if username not in seen and email not in seen:
                    usernames.append(username)
                seen |= {username, email}
    return usernames
