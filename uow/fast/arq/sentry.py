"""What Sentry's arq integration does to a worker of arq's, done for a worker of ours.

It wraps arq's `create_worker` and `Worker.run_job`; we use neither. So its wrapper is asked for the
functions, and the transaction that it begins for each job is begun here.
"""

import contextlib
import logging
import sys
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import arq.worker
from arq.cron import CronJob

logger = logging.getLogger(__name__)

T = TypeVar("T")

ARQ = "arq"
"""The integration's name at Sentry."""


def with_wrapped_functions(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a worker, with the functions and cron jobs as the integration has wrapped them.

    As they are, if the process does not report to Sentry with that.
    """
    if not _is_on():
        return dict(options)
    those = {"functions": list(options.get("functions", ())),
             "cron_jobs": list(options.get("cron_jobs") or ())}  # fmt: skip
    timezone = {name: options[name] for name in ("timezone",) if name in options}
    try:
        # It is never run: what is wanted of it is what whoever has wrapped its making has made.
        made = arq.worker.create_worker({**those, **timezone, "handle_signals": False})
    except Exception as error:
        logger.warning("Sentry's arq integration does not take these functions, so they are run "
                       "without it", exc_info=error)  # fmt: skip
        return dict(options)
    functions = [one for one in made.functions.values() if not isinstance(one, CronJob)]
    return {**options, "functions": functions, "cron_jobs": made.cron_jobs}


def in_transaction(job: Coroutine[Any, Any, T], queue: str) -> Coroutine[Any, Any, T]:
    """`job` in a transaction, as the integration has it; as it is, without that."""
    return _traced(job, queue) if _is_on() else job


async def _traced(job: Coroutine[Any, Any, T], queue: str) -> T:
    with contextlib.ExitStack() as ending:
        try:
            ending.enter_context(_transaction(queue))
        except Exception as error:  # an SDK of another kind stops no job
            logger.warning("no transaction for Sentry", exc_info=error)
        return await job


def _transaction(queue: str) -> Any:
    import sentry_sdk

    begun = sentry_sdk.start_transaction(
        name="unknown arq task", status="ok", op="queue.task.arq", source="task",
        origin="auto.queue.arq",
    )  # fmt: skip
    begun.set_data("messaging.destination.name", queue)
    return begun


def _is_on() -> bool:
    sentry = sys.modules.get("sentry_sdk")  # who uses it has imported it
    with contextlib.suppress(Exception):
        return sentry is not None and sentry.get_client().get_integration(ARQ) is not None
    return False
