"""Prints what the demo has shown."""

from rich.console import Console
from rich.table import Table

from worker.demo.chaos import Chaos
from worker.demo.check import Summary

SHOWN = 10
"""How many of the rows that are wrong are named."""


def print_summary(console: Console, summary: Summary, chaos: Chaos | None) -> None:
    """Print the figures and the verdict."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (_suffered(chaos) if chaos else {}).items():
        table.add_row(name, value)
    for name, value in _figures(summary, with_latency=chaos is None).items():
        table.add_row(name, value)
    console.print(table)
    if summary.repeated_mails:
        console.print("mail is outside Postgres: at least once; each carries the same Message-ID, "
                      "so that receivers can drop it", soft_wrap=True)  # fmt: skip
    for exit_ in chaos.workers.fleet.exits if chaos else ():
        console.print(f"a worker ended by itself: {exit_}", markup=False)
    if summary.holds:
        console.print(
            f"[green]✓ each of {summary.rows:,} rows has exactly one user and one welcome[/]"
        )
    else:
        _print_what_is_wrong(console, summary)


def _suffered(chaos: Chaos) -> dict[str, str]:
    done = chaos.done
    return {
        "workers killed": f"{done.kills:,}",
        "workers frozen": f"{done.stops:,} for {chaos.plan.stop_seconds:g} s",
        "Redis wiped": f"{done.redis_losses:,}",
        "Postgres restarted": f"{done.postgres_restarts:,}",
    }


def _figures(summary: Summary, *, with_latency: bool) -> dict[str, str]:
    p50, p99 = summary.latency_p50_ms, summary.latency_p99_ms
    return {
        **{f"tasks {state}": f"{tasks:,}" for state, tasks in summary.by_state.items()},
        "welcome tasks per second": f"{summary.tasks_per_second:,.0f}",
        # Of servers that are away it says nothing that anybody could compare.
        **({"start latency p50 / p99": f"{p50:.0f} ms / {p99:.0f} ms"} if with_latency else {}),
        "mails received": f"{summary.mails:,} ({summary.repeated_mails} repeated)",
    }


def _print_what_is_wrong(console: Console, summary: Summary) -> None:
    for error in summary.errors:
        console.print(error, markup=False)
    if not summary.rows:
        console.print("[red]✗ the file has no row that could be imported[/]")
        return
    shown = ", ".join(summary.wrong_rows[:SHOWN])
    console.print(f"[red]✗ the check does not hold; rows without exactly one user and one "
                  f"welcome: {len(summary.wrong_rows):,} {shown}[/]")  # fmt: skip
    if not summary.everybody_has_one_mail:
        console.print(f"{summary.different_mails:,} different mails for "
                      f"{summary.recipients:,} recipients")  # fmt: skip
