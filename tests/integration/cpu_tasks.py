"""Tasks that run in child processes, which import this module."""

import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from uow import Backoff, Cancel, CpuContext, Retry, SyncTaskContext, task
from uow.tasks.registry import Registry

REGISTRY = Registry()


class NotPickled(Exception):
    """One that needs more than its message."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ({code})")


@task("cpu.add", process=True, registry=REGISTRY)
def add(ctx: CpuContext, a: int, b: list[int]) -> tuple[int, datetime]:
    return a + sum(b), ctx["enqueue_time"]


@task("cpu.who", process=True, registry=REGISTRY)
def who(ctx: CpuContext) -> dict[str, Any]:
    info = ctx["task"]
    return {
        "pid": os.getpid(), "parent": os.getppid(), "name": info.name, "attempt": info.attempt,
        "id": str(info.id), "key": info.idempotency_key, "try": ctx["job_try"],
        "stdin": sys.stdin.read(),
    }  # fmt: skip


@task("cpu.rowless", process=True, durable=False, registry=REGISTRY)
def rowless(ctx: CpuContext, n: int) -> int:
    assert ctx["task"].id is None
    return n + 1


@task("cpu.key", process=True, max_tries=1, registry=REGISTRY)
def key(ctx: CpuContext, name: str) -> None:
    ctx[name]  # type: ignore[literal-required]


@task("cpu.raise", process=True, max_tries=3, final=(ZeroDivisionError,),
      backoff=Backoff(base=0), registry=REGISTRY)  # fmt: skip
def fail(ctx: CpuContext, how: str) -> str:
    match how:
        case "final":
            raise ZeroDivisionError("division by zero")
        case "cancel":
            raise Cancel("enough")
        case "retry" if ctx["task"].tries == 0:
            raise Retry(0)
        case "not pickled":
            raise NotPickled(7, "strange")
        case "exit":
            sys.exit(3)
        case "wrong result":
            return 7  # type: ignore[return-value]
    return "done"


@task("cpu.die", process=True, max_tries=2, backoff=Backoff(base=0), registry=REGISTRY)
def die(ctx: CpuContext, how: str) -> int:
    if ctx["task"].tries == 0:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7)
    return os.getpid()


@task("cpu.spin", process=True, max_tries=1, timeout=0.5, registry=REGISTRY)
def spin(ctx: CpuContext, says: str) -> None:
    """Never ends, and heeds no signal that can be ignored."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(says).write_text(str(os.getpid()))
    while True:
        pass


@task("cpu.sleep", process=True, timeout=60, registry=REGISTRY)
def sleep(ctx: CpuContext, says: str) -> None:
    Path(says).write_text(str(os.getpid()))
    time.sleep(60)


@task("cpu.print", process=True, registry=REGISTRY)
def say(ctx: CpuContext, text: str) -> None:
    print(text, flush=True)


@task("sync.neighbour", registry=REGISTRY)
def neighbour(ctx: SyncTaskContext) -> int:
    return os.getpid()
