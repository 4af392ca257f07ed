"""The commands that show what the rest can do: parse, call, print."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from uow.cli.app import command
from uow.errors import WorkerError
from uow.proofs.bench.plan import BenchPlan, Measurement


@command
def demo(
    users: Annotated[
        Path | None, typer.Option(help="CSV file with the columns username and email.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
    chaos: Annotated[
        bool,
        typer.Option("--chaos", help="Meanwhile kill workers, empty Redis and restart Postgres."),
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Repeats the faults of another run with --chaos.")
    ] = None,
) -> None:
    """Show the main job on real input, with nothing installed and nothing configured."""
    import secrets

    if chaos and seed is None:
        seed = secrets.randbelow(2**32)
    if seed is not None and not chaos:
        raise typer.BadParameter("it needs --chaos", param_hint="--seed")
    raise typer.Exit(_demo().show(users, keep=keep, chaos_seed=seed))


def _demo() -> Any:
    """The demo, which is no part of the library; a ``worker`` of somebody's is not imported."""
    from importlib import import_module
    from importlib.util import find_spec

    found = find_spec("worker")
    places = (found.submodule_search_locations if found is not None else None) or ()
    if not any((Path(place) / "demo" / "show.py").is_file() for place in places):
        raise WorkerError(
            "the demo is part of the repository, and not of what is installed: in a clone of it, "
            "`uv run worker demo`"
        )
    return import_module("worker.demo")


class Baseline(StrEnum):
    """What `worker chaos` can run instead of this package."""

    ARQ = "arq"


@command
def chaos(
    tasks: Annotated[int, typer.Option(min=1, help="Tasks to enqueue.")] = 2000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 4,
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs of a worker.")] = 20,
    redis_losses: Annotated[int, typer.Option(min=0, help="Times that Redis forgets all.")] = 3,
    postgres_restarts: Annotated[int, typer.Option(min=0, help="Postgres crashes.")] = 2,
    stops: Annotated[int, typer.Option(min=0, help="Times that a worker is frozen.")] = 2,
    stop_seconds: Annotated[float, typer.Option(min=0, help="Seconds it is frozen.")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="Repeats the faults of another run.")] = None,
    baseline: Annotated[
        Baseline | None, typer.Option(help="Run this instead of us, to see the difference.")
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Seconds without progress after which what is left is stuck; "
            "default: 120, and 330 for arq, whose locks last 310.",
        ),
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Directory in which event log and worker logs are kept.")
    ] = None,
) -> None:
    """Kill workers, Redis and Postgres while tasks run; check that each ran exactly once."""
    import secrets

    from uow.proofs.chaos.plan import BASELINE_PATIENCE_SECONDS, PATIENCE_SECONDS, ChaosPlan
    from uow.proofs.chaos.show import show_chaos

    usual = PATIENCE_SECONDS if baseline is None else BASELINE_PATIENCE_SECONDS
    plan = ChaosPlan(
        seed=secrets.randbelow(2**32) if seed is None else seed,
        tasks=tasks, workers=workers, kills=kills, redis_losses=redis_losses,
        postgres_restarts=postgres_restarts, stops=stops, stop_seconds=stop_seconds,
        patience=patience or usual, baseline=baseline is Baseline.ARQ,
    )  # fmt: skip
    raise typer.Exit(show_chaos(plan, artifacts))


@command
def bench(
    jobs: Annotated[int, typer.Option(min=1, help="Tasks per measurement.")] = 3000,
    processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, help="Tasks at once in each; default: 10, with --servers WORKER_CONCURRENCY."
        ),
    ] = None,
    payload_bytes: Annotated[
        int, typer.Option(min=0, help="Make the arguments of each task longer by this.")
    ] = 0,
    only: Annotated[
        list[Measurement] | None, typer.Option(help="Measure this alone; may be repeated.")
    ] = None,
    servers: Annotated[
        bool,
        typer.Option(
            "--servers",
            help="Measure the configured servers, in a schema and a queue of its own that are "
            "removed at the end; default: throwaway servers on this machine.",
        ),
    ] = False,
    stock: Annotated[bool, typer.Option("--stock", help="Measure the stock arq worker.")] = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="With metrics on, as with WORKER_METRICS_PORT.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
) -> None:
    """Measure how many tasks this machine and its servers run, and how soon they start."""
    from uow.proofs.bench.show import show_bench

    plan = BenchPlan(
        jobs=jobs, processes=processes, concurrency=concurrency, payload_bytes=payload_bytes,
        only=frozenset(only or Measurement), servers=servers, stock=stock,
        metrics=metrics,
    )  # fmt: skip
    raise typer.Exit(show_bench(plan, as_json=as_json))
