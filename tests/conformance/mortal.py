"""A task module whose process gets SIGTERM at one moment of its start; `MOMENT` says at which."""

import gc
import os
import signal
from collections.abc import Callable
from typing import Any

import arq.worker

from uow import host
from uow.fast import worker as fast
from uow.services import readiness
from uow.services.leader import Leader

MOMENTS: dict[str, list[tuple[Any, str]]] = {
    "imports": [],
    "asks for the servers": [(readiness, "wait_for_tables")],
    "has its engine": [(gc, "freeze")],
    "greets Redis": [(arq.worker, "log_redis_info"), (fast, "log_redis_info")],
    "begins its startup hook": [(host, "wait_for_tables")],
    "starts its services": [(Leader, "start")],
}
"""What is about to be called then."""


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stopped_first(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        stop()
        return function(*args, **kwargs)

    return call


def arm(places: list[tuple[Any, str]]) -> None:
    for owner, name in places:
        setattr(owner, name, stopped_first(getattr(owner, name)))
    if not places:
        stop()


if "MOMENT" in os.environ:
    arm(MOMENTS[os.environ["MOMENT"]])
