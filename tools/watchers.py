"""Measures what people who look at pages cost the workers: `worker bench`, without and with them.

    uv run tools/watchers.py [--watchers 200] [--jobs 20000] [--rounds 3]

Starts throwaway servers, a worker and `worker api`; a process of its own holds so many pages open
as their script does, each of several pages many times. Durable and no-op tasks are run in turns,
without and with them. Prints each run and the medians. All of it shares the machine: the CPU time
of a task says what they cost the worker, and its rate also what the API, Postgres and the watchers
themselves take from it.
"""

import argparse
import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from itertools import cycle, islice
from statistics import median

import httpx

from uow.process.launch import environment
from uow.proofs.bench.app import NAME as APP
from uow.proofs.bench.measure import Bench, Function
from uow.proofs.bench.plan import BenchPlan
from uow.proofs.bench.result import Throughput
from uow.proofs.bench.site import Site, open_site
from uow.proofs.bench.tasks import durable, no_op
from uow.proofs.bench.workers import open_workers

PAGES = (
    "/ui/", "/ui/tasks", "/ui/tasks?state=running", "/ui/queues", "/ui/queues/worker_bench",
    "/ui/names", "/ui/users", "/ui/workers", "/ui/failures", "/ui/?last=180",
)  # fmt: skip

READY_SECONDS = 30.0

LOOKING = "all look"

KINDS: dict[str, Function] = {"durable": durable, "no-op": no_op}

Runs = dict[bool, list[Throughput]]
"""Without and with watchers."""


async def main(watchers: int, jobs: int, rounds: int) -> None:
    """Measure in turns, each on servers of its own, and print."""
    found: dict[str, Runs] = {kind: {False: [], True: []} for kind in KINDS}
    for number in range(rounds):
        first = number % 2 > 0  # neither is always the one that comes first
        for watched in (first, not first):
            for kind, run in (await _measured(BenchPlan(jobs=jobs), watchers * watched)).items():
                found[kind][watched].append(run)
    for kind, runs in found.items():
        _print_medians(kind, runs)


async def _measured(plan: BenchPlan, watchers: int) -> dict[str, Throughput]:
    async with open_site(plan) as site, open_workers(plan, site) as workers:
        bench = Bench(plan, site, workers, lambda *_: None)
        await bench.warm_up()
        with served(site) as address:
            await _ready(address)
            async with looking(address, watchers) if watchers else nullcontext():
                found = {
                    kind: (await bench.throughput(function)).figures()
                    for kind, function in KINDS.items()
                }
    for kind, run in found.items():
        if run.missing or run.doubled:
            raise SystemExit(f"{kind}: {run.missing} have not run, {run.doubled} twice")
        print(f"{kind:8} {watchers:4} look {_said(run)}", flush=True)
    return found


@contextmanager
def served(site: Site) -> Iterator[str]:
    """`worker api` at the site's servers; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "uow", "api", "--port", str(port), "--app", APP]
    with (site.directory / "api.log").open("wb") as log:
        api = subprocess.Popen(
            command, env=environment(site.settings), cwd=site.directory, stdout=log, stderr=log
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            api.terminate()
            api.wait(15)


async def _ready(address: str) -> None:
    async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient(base_url=address) as http:
        while True:
            try:
                (await http.get("/ui/")).raise_for_status()
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
            else:
                return


@asynccontextmanager
async def looking(address: str, watchers: int) -> AsyncIterator[None]:
    """A process that has so many pages open, from when each has been shown once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--at", address, "--watchers", str(watchers),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(READY_SECONDS):
            said = await process.stdout.readline() if process.stdout else b""
        if said.decode().strip() != LOOKING:
            raise SystemExit("the watchers have ended")
        yield
        if process.returncode is not None:
            raise SystemExit("the watchers have ended")
    finally:
        process.terminate()
        shown = (await process.communicate())[0].decode().strip()
        print(shown, flush=True)


async def look(address: str, watchers: int) -> None:
    """Hold so many pages open; says so when each has been shown, and at the end what came."""
    limits = httpx.Limits(max_connections=None)
    shown = asyncio.Semaphore(0)
    frames = 0

    async def one(http: httpx.AsyncClient, path: str) -> None:
        nonlocal frames
        seen = False
        async with http.stream("GET", path, headers={"accept": "text/event-stream"}) as answer:
            answer.raise_for_status()
            async for _ in answer.aiter_raw():
                frames += 1
                if not seen:
                    seen = True
                    shown.release()

    async with (
        httpx.AsyncClient(base_url=address, timeout=httpx.Timeout(30), limits=limits) as http,
        asyncio.TaskGroup() as tabs,
    ):
        all_ = [tabs.create_task(one(http, path)) for path in islice(cycle(PAGES), watchers)]
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: [one.cancel() for one in all_] and None
        )
        async with asyncio.timeout(READY_SECONDS):
            for _ in all_:
                await shown.acquire()
        print(LOOKING, flush=True)
    print(f"{watchers} watchers were sent {frames:,} pieces")


def _said(run: Throughput) -> str:
    return f"{run.run_jobs_per_second:8,.0f}/s {run.worker_cpu_ms_per_job * 1000:7.1f} µs of CPU"


def _print_medians(kind: str, runs: Runs) -> None:
    rates = {key: median(one.run_jobs_per_second for one in those) for key, those in runs.items()}
    cpu = {key: median(one.worker_cpu_ms_per_job for one in those) for key, those in runs.items()}
    print(
        f"{kind}: rate {rates[True] / rates[False]:.3f}, worker CPU {cpu[True] / cpu[False]:.3f} "
        "of those without, by the medians"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.at:
        asyncio.run(look(given.at, given.watchers))
    else:
        asyncio.run(main(given.watchers, given.jobs, given.rounds))
