"""Tasks that are a plain ``def``, in threads and in child processes."""

import hashlib
import os
import sys
import time
from pathlib import Path

from sqlalchemy import text

from tests.conformance.tasks import INSERT
from uow import Backoff, CpuContext, SyncTaskContext, task


@task("sync.effect")
def effect(ctx: SyncTaskContext, what: str) -> str:
    with ctx["db"].get_session() as session:
        session.execute(INSERT, {"what": what})
    return what


@task("sync.hold_until")
def hold_until(ctx: SyncTaskContext, what: str, gate: str) -> None:
    """Has an effect, says that it runs, and its first attempt's thread waits for a file."""
    with ctx["db"].get_session() as session:
        session.execute(INSERT, {"what": what})
    ctx["task"].report(attempt=ctx["task"].attempt)
    while ctx["task"].attempt == 1 and not Path(gate).exists():
        time.sleep(0.01)


@task("sync.compute")
def compute(ctx: SyncTaskContext, what: str) -> None:
    """Pure computing that never ends, in the first attempt, and never lets go of its thread."""
    with ctx["db"].get_session() as session:
        session.execute(INSERT, {"what": what})
    ctx["task"].report(attempt=ctx["task"].attempt)
    digest = b""
    while ctx["task"].attempt == 1:
        digest = hashlib.sha256(digest).digest()


@task("sync.flaky_sql", backoff=Backoff(base=0))
def flaky_sql(ctx: SyncTaskContext, what: str, state: str) -> None:
    """Meets an SQL error of the infrastructure in its first attempt, after its effect."""
    with ctx["db"].get_session() as session:
        session.execute(INSERT, {"what": what})
        if ctx["task"].attempt == 1:
            session.execute(
                text(f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{state}'; END $$")
            )


@task("cpu.hold", process=True)
def hold_a_process(ctx: CpuContext, says: str) -> None:
    """Says which process it is, and computes; a second attempt returns."""
    if ctx["task"].attempt == 1:
        Path(says).write_text(str(os.getpid()))
        while True:
            pass


@task("sync.stray", max_tries=1)
def stray(ctx: SyncTaskContext, way: str) -> int:
    """A fork that goes on as if it were the worker; its exit code."""
    with ctx["db"].get_session() as session:
        session.execute(INSERT, {"what": way})
    if (child := os.fork()) == 0:
        match way:
            case "returns":
                return 0
            case "exits":
                sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
