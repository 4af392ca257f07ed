"""What a person sees of the demo."""

import asyncio
import contextlib
import shlex
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from sqlalchemy import text

from uow.errors import WorkerError
from uow.process.launch import environment_variables
from uow.process.signals import TERMINATED, cancel_on_sigterm
from worker.demo.bars import Bars, progress
from worker.demo.chaos import QUIET_SECONDS, Chaos, open_chaos, plan_for, told
from worker.demo.check import summarize
from worker.demo.house import APP, House, open_house
from worker.demo.summary import print_summary
from worker.demo.work import PATIENCE_SECONDS, Exports, outlast, start_import, watch
from worker.demo.workers import Workers, open_one_worker
from worker.tasks.user_export import export_data
from worker.tasks.user_file import UserFile
from worker.tasks.user_import import ImportReport

SAMPLE = Path(__file__).with_name("users.csv")

EXPORTS = 40
"""Users whose data are exported, one after the other on an idle worker: the latency's sample."""

console = Console()


def show(users: Path | None, *, keep: bool, chaos_seed: int | None = None) -> int:
    """Run the demo and return its exit code: 0 only if the check holds.

    Args:
        users: A CSV file; None takes the sample.
        keep: Leave everything running afterwards, until Ctrl-C.
        chaos_seed: Kill and restart what runs meanwhile, as follows from this number.

    Raises:
        WorkerError: A server or the worker did not start, or the file is not a list of users.
    """
    source = users or SAMPLE
    usernames = _usernames(source)
    showing = (
        _show(source, usernames, keep=keep)
        if chaos_seed is None
        else _show_under_chaos(source, usernames, chaos_seed, keep=keep)
    )
    try:
        return asyncio.run(_until_terminated(showing))
    except asyncio.CancelledError:
        return TERMINATED


async def _until_terminated(showing: Coroutine[None, None, int]) -> int:
    cancel_on_sigterm()
    return await showing


async def _show(source: Path, usernames: list[str], *, keep: bool) -> int:
    async with contextlib.AsyncExitStack() as stack:
        with _starting("Postgres, Redis, a mail sink and a worker"):
            house = await stack.enter_async_context(open_house())
            worker = await stack.enter_async_context(open_one_worker(house))
        await _import(house, worker, source, len(usernames))
        await _export_some(house)
        return await _conclude(house, worker, usernames, keep=keep)


async def _show_under_chaos(source: Path, usernames: list[str], seed: int, *, keep: bool) -> int:
    plan = plan_for(seed)
    console.print(f"seed {seed}: {told(plan)}, within {plan.seconds:.0f} s", highlight=False)
    async with contextlib.AsyncExitStack() as stack:
        with _starting(f"Postgres, Redis, a mail sink and {plan.workers} workers"):
            house = await stack.enter_async_context(open_house())
            chaos = await stack.enter_async_context(open_chaos(house, plan))
        await _work_under(chaos, house, source, len(usernames))
        return await _conclude(house, chaos.workers, usernames, chaos, keep=keep)


@contextlib.contextmanager
def _starting(what: str) -> Iterator[None]:
    began = time.perf_counter()
    with console.status(f"starting {what} …"):
        yield
    console.print(f"started in {time.perf_counter() - began:.1f} s")


async def _import(house: House, workers: Workers, source: Path, rows: int) -> None:
    """Import the file and wait until everybody is welcomed."""
    handle = await start_import(house, source)
    with Bars(console, rows) as bars:
        await watch(house, workers, bars.show, is_busy=lambda: False)
    _print_bad_lines(await handle.result())


async def _export_some(house: House) -> None:
    async with house.db.get_session() as session:
        found = await session.execute(text("SELECT id FROM users ORDER BY id LIMIT :n"),
                                      {"n": EXPORTS})  # fmt: skip
        ids = list(found.scalars())
    with progress(console) as bars:
        exported = bars.add_task("exports", total=len(ids))
        for user_id in ids:
            options = export_data.options(user_id=user_id)
            await (await house.client.enqueue(options, user_id=user_id)).result(PATIENCE_SECONDS)
            bars.advance(exported)


async def _work_under(chaos: Chaos, house: House, source: Path, rows: int) -> None:
    """Import the file and export data until the last fault is over and everything is done."""
    handle = await start_import(house, source)
    exports = Exports(house)
    async with (
        _alongside(chaos.run()) as breaking,
        _alongside(exports.run(until=breaking.done)) as exporting,
    ):
        with Bars(console, rows, exports, chaos) as bars:
            await watch(
                house, chaos.workers, bars.show,
                is_busy=lambda: not (_is_over(breaking) and _is_over(exporting)),
            )  # fmt: skip
    _print_bad_lines(await outlast(handle.result))
    await asyncio.sleep(QUIET_SECONDS)


@contextlib.asynccontextmanager
async def _alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task that does not outlive the block; unlike a TaskGroup's, its errors stay as they are."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _is_over(task: asyncio.Task[None]) -> bool:
    """Raises what it has raised."""
    return task.done() and task.result() is None


async def _conclude(
    house: House,
    workers: Workers,
    usernames: list[str],
    chaos: Chaos | None = None,
    *,
    keep: bool,
) -> int:
    summary = await summarize(house, usernames)
    print_summary(console, summary, chaos)
    if keep:
        await _keep(house, workers)
    return 0 if summary.holds else 1


def _print_bad_lines(report: ImportReport) -> None:
    for bad in report.bad_lines:
        console.print(f"[yellow]line {bad.line}: {escape(bad.reason)}[/yellow]")


async def _keep(house: House, workers: Workers) -> None:
    """Leave everything running until Ctrl-C, and say how to look at it."""
    from worker.demo.pages import open_pages  # only here: it is the whole API

    with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C
        async with open_pages(house) as address:
            _say_how_to_look(house, workers, address)
            while True:
                workers.check()
                await asyncio.sleep(1)


def _say_how_to_look(house: House, workers: Workers, address: str) -> None:
    console.print(f"\nEverything is still running. In a browser: {address}", highlight=False)
    console.print("In another shell:\n")
    for name, value in environment_variables(house.settings).items():
        if name in ("WORKER_DATABASE_URL", "WORKER_REDIS_URL"):
            console.print(f"export {name}={shlex.quote(value)}", highlight=False, soft_wrap=True)
    console.print(
        "\nuv run worker enqueue users.create username=new email=new@example.org "
        f"--queue {house.settings.queue} --wait --app {APP}\n"
        f"uv run worker api --app {APP}    # then http://127.0.0.1:8000/users/1\n"
        f"{shlex.join(house.postgres.psql)}\n"
        f"tail -f {workers.log}\n\nCtrl-C ends it all.",
        highlight=False,
        soft_wrap=True,
    )


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
