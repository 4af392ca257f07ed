"""What a person, or a program, sees of a run."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from uow.process.signals import TERMINATED, cancel_on_sigterm
from uow.proofs.bench.bench_run import BenchReport, WorkerFacts, run_bench
from uow.proofs.bench.facts import Servers
from uow.proofs.bench.measure import Show
from uow.proofs.bench.plan import BenchPlan
from uow.proofs.bench.result import Latency, Throughput

REFRESH_SECONDS = 0.25
"""Seldom, because drawing takes time from what is measured."""

MEGABYTE = 1024 * 1024

BUSY = 0.5
"""Load per core above which a machine has other things to do than to be measured."""

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def show_bench(plan: BenchPlan, *, as_json: bool) -> int:
    """Measure what the plan says, print it, and return the exit code.

    It is 0 only if every task has run exactly once.

    Raises:
        WorkerError: As `uow.proofs.bench.bench_run.run_bench`.
    """
    try:
        report = asyncio.run(_run(plan))
    except asyncio.CancelledError:
        return TERMINATED
    if as_json:
        print(json.dumps(document(report), indent=2))
    else:
        _print(report)
    for fault in report.faults:
        errors.print(f"[red]✗[/] {fault}", soft_wrap=True)
    return 0 if report.holds else 1


def document(report: BenchReport) -> dict[str, Any]:
    """The report as one JSON object. Its keys are stable: names are added, never changed."""
    return {
        "holds": report.holds,
        "faults": list(report.faults),
        "machine": asdict(report.machine),
        "servers": asdict(report.servers),
        "workers": asdict(report.workers),
        "payload_bytes": report.plan.payload_bytes,
        "measurements": {
            name.replace("-", "_").replace(" ", "_"): asdict(figures)
            for name, figures in report.figures.items()
        },
    }


async def _run(plan: BenchPlan) -> BenchReport:
    cancel_on_sigterm()
    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn())
    progress = Progress(
        *columns, TimeElapsedColumn(),
        console=errors, transient=True, auto_refresh=False, disable=not errors.is_terminal,
    )  # fmt: skip
    with progress:
        return await run_bench(plan, _bar(progress))


def _bar(progress: Progress) -> Show:
    """One bar, drawn by us: a thread that draws would get in the way of what is timed."""
    bar = progress.add_task("")
    drawn, shown = float("-inf"), ""

    def show(what: str, done: int, of: int) -> None:
        nonlocal drawn, shown
        if what != shown:
            progress.reset(bar, description=what)
        elif time.monotonic() - drawn < REFRESH_SECONDS and done < of:
            return
        drawn, shown = time.monotonic(), what
        progress.update(bar, completed=done, total=of, refresh=True)

    return show


def _print(report: BenchReport) -> None:
    _print_many({n: f for n, f in report.figures.items() if isinstance(f, Throughput)})
    _print_one_by_one({n: f for n, f in report.figures.items() if isinstance(f, Latency)})
    console.print(_facts(report), soft_wrap=True)
    if report.machine.load > BUSY * report.machine.cores:
        console.print(
            f"[yellow]this machine was busy before (load {report.machine.load:.1f}): "
            "measure again when it is idle[/]",
            soft_wrap=True,
        )
    if report.holds:
        tasks = sum(figures.jobs for figures in report.figures.values())
        console.print(f"[green]✓ each of {tasks:,} tasks has run exactly once[/]")


def _print_many(figures: dict[str, Throughput]) -> None:
    columns: dict[str, Callable[[Throughput], str]] = {
        "tasks": lambda f: f"{f.jobs:,}",
        "enqueued/s": lambda f: f"{f.enqueue_jobs_per_second:,.0f}",
        "run/s": lambda f: f"{f.run_jobs_per_second:,.0f}",
        "worker CPU": lambda f: f"{f.worker_cpu_ms_per_job:.2f} ms",
        "WAL": lambda f: _number(f.postgres_wal_bytes_per_job, " bytes"),
        "Redis": lambda f: _number(f.redis_commands_per_job, " commands"),
    }
    _print_table("many at once; what each costs", columns, figures)


def _print_one_by_one(figures: dict[str, Latency]) -> None:
    columns: dict[str, Callable[[Latency], str]] = {
        "tasks": lambda f: f"{f.jobs:,}",
        "started p50": lambda f: f"{f.start_p50_ms:.1f} ms",
        "p99": lambda f: f"{f.start_p99_ms:.1f} ms",
        "enqueue returned p50": lambda f: f"{f.enqueue_p50_ms:.1f} ms",
        "p99 ": lambda f: f"{f.enqueue_p99_ms:.1f} ms",
    }
    _print_table("one by one, idle worker; since its enqueue was begun", columns, figures)


def _print_table(title: str, columns: dict[str, Any], figures: dict[str, Any]) -> None:
    if not figures:
        return
    console.print(title, style="bold")
    table = Table("", box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in figures.items():
        table.add_row(name, *(cell(row) for cell in columns.values()))
    console.print(table)
    console.print()


def _facts(report: BenchReport) -> str:
    return "\n".join((_machine(report), _workers(report.workers), _servers(report.servers)))


def _machine(report: BenchReport) -> str:
    machine = report.machine
    loops = ", ".join(kind.partition(".")[0] for kind in report.workers.event_loops)
    return (
        f"{machine.cores} cores, {machine.system}, Python {machine.python}, {loops}, "
        f"uow-worker {machine.uow_worker}"
    )


def _workers(workers: WorkerFacts) -> str:
    number = "1 process" if workers.processes == 1 else f"{workers.processes} processes"
    kind = " of stock arq" if workers.stock else ""
    metrics = ", with metrics" if workers.metrics else ""
    memory = ", ".join(f"{peak / MEGABYTE:.0f} MB" for peak in workers.peak_memory_bytes)
    return (
        f"{number}{kind}, {workers.concurrency} tasks at once in each{metrics}"
        f"{f', peak memory {memory}' if memory else ''}"
    )


def _servers(servers: Servers) -> str:
    whose = "throwaway servers on this machine" if servers.embedded else "configured servers"
    return (
        f"{whose}: Postgres {servers.postgres_version} (fsync {_on(servers.postgres_fsync)}, "
        f"synchronous_commit {servers.postgres_synchronous_commit}; "
        f"round trip {servers.postgres_round_trip_p50_ms:.2f} ms, "
        f"commit {servers.postgres_commit_p50_ms:.2f} ms), "
        f"{servers.redis_name} {servers.redis_version} "
        f"(append-only file {_on(servers.redis_saves)}; "
        f"round trip {servers.redis_round_trip_p50_ms:.2f} ms)"
    )


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"


def _on(value: bool | None) -> str:
    return "unknown" if value is None else "on" if value else "off"
