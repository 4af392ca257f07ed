"""What a person sees of a run."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from uow.process.signals import TERMINATED, cancel_on_sigterm
from uow.proofs.chaos.chaos_run import ChaosReport, Snapshot, run_chaos
from uow.proofs.chaos.journal import Journal
from uow.proofs.chaos.plan import ChaosPlan, FaultKind

SHOWN = 10
"""How many of the things that are wrong are printed; all are in the event log."""


console = Console(highlight=False)


def show_chaos(plan: ChaosPlan, artifacts: Path | None) -> int:
    """Do what the plan says, show it, and return the exit code: 0 only if every promise was kept.

    Args:
        plan: What to do.
        artifacts: Where the event log and the workers' logs are kept. Without one they are
            thrown away, unless the check does not hold.

    Raises:
        EmbeddedServerError: A server's binaries are not there or do not start.
    """
    directory = artifacts or Path(tempfile.mkdtemp(prefix="worker-chaos-"))
    journal = Journal(directory)
    keep = artifacts is not None
    try:
        _announce(plan, journal)
        with journal.keep_log():
            report = asyncio.run(_run(plan, journal))
        keep = keep or not report.holds
        _print(report, journal)
        return 0 if report.holds else 1
    except asyncio.CancelledError:
        return TERMINATED
    finally:
        if keep:
            console.print(f"events and logs of the workers: {directory}", soft_wrap=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _announce(plan: ChaosPlan, journal: Journal) -> None:
    console.print(
        f"seed {plan.seed}: {plan.tasks:,} tasks on {plan.workers} workers in "
        f"{plan.seconds:.0f} s; meanwhile {plan.kills:,} kills and these faults:"
    )
    for fault in plan.faults():
        journal.note(f"planned: at {fault.at:.2f} s {fault}")
        if fault.kind is not FaultKind.KILL:
            console.print(f"  at {fault.at:5.1f} s {fault}")


async def _run(plan: ChaosPlan, journal: Journal) -> ChaosReport:
    cancel_on_sigterm()
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        return await run_chaos(plan, journal, _line(progress, plan))


def _line(progress: Progress, plan: ChaosPlan) -> Callable[[Snapshot], None]:
    shown = progress.add_task("starting …", total=plan.tasks)

    def show(now: Snapshot) -> None:
        faults = ", ".join(f"{many} {kind}" for kind, many in sorted(now.done.items()))
        done = now.acknowledged + now.unknown - now.unfinished
        text = (
            f"{now.acknowledged:,} enqueued, {now.effects:,} effects, {now.unfinished:,} open | "
            f"{faults or 'no faults yet'} | {now.exits} exits"
        )
        progress.update(shown, completed=max(done, 0), description=text)

    return show


def _print(report: ChaosReport, journal: Journal) -> None:
    plan, verdict, done = report.plan, report.verdict, report.done
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in {
        "system": "stock arq" if plan.baseline else "worker",
        "seed": str(plan.seed),
        "tasks acknowledged": f"{verdict.acknowledged:,} (and {verdict.unknown:,} unknown)",
        "workers killed": f"{done.kills:,}",
        "workers frozen": f"{done.stops:,} for {plan.stop_seconds:g} s",
        "Redis losses": f"{done.redis_losses:,}",
        "Postgres restarts": f"{done.postgres_restarts:,}",
        "duration": f"{report.seconds:.0f} s",
    }.items():
        table.add_row(name, value)
    for name, many in _verdict_rows(report).items():
        colour = "red" if many else "green"
        table.add_row(name, f"[{colour}]{many:,}[/]")
    console.print(table)
    for fault in verdict.faults:
        journal.note(fault)
    _print_faults([*verdict.faults, *report.exits], journal)
    if report.holds:
        console.print(f"[green]✓ each of {verdict.acknowledged:,} tasks had its effects once[/]")
    else:
        console.print("[red]✗ the promise was broken[/]")


def _verdict_rows(report: ChaosReport) -> dict[str, int]:
    verdict = report.verdict
    rare = {
        "failed": len(verdict.failures),
        "effects that nobody asked for": len(verdict.unasked),
        "keys left in Redis": sum(verdict.leftovers.values()),
    }
    return {
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled),
        "stuck": verdict.stuck,
        **{name: many for name, many in rare.items() if many},
        "worker exits of their own": len(report.exits),
    }


def _print_faults(faults: list[str], journal: Journal) -> None:
    for fault in faults[:SHOWN]:
        console.print(fault.partition("\n")[0], markup=False, soft_wrap=True)
    if len(faults) > SHOWN:
        console.print(f"… and {len(faults) - SHOWN:,} more, in {journal.path}", soft_wrap=True)
