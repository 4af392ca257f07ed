"""What is installed where the question is asked."""

import sys
from importlib.util import find_spec

from uow.questions.doctor.finding import Finding, unknown, warning
from uow.questions.doctor.visit import Needs, Visit, check

NO_HIREDIS = warning("install.no-hiredis", "Answers of Redis are read by Python code: slower.")
NO_UVLOOP = warning("install.no-uvloop", "The event loop is asyncio's own: slower.")
NO_CODE = unknown("install.no-code", "What needs the task functions was not looked at.")


@check(Needs.NOTHING)
async def speedups(_: Visit) -> list[Finding]:
    """Whether what makes a worker fast is there; of this host alone."""
    found = []
    if find_spec("hiredis") is None:
        found.append(NO_HIREDIS.found("hiredis is not installed here", "pip install hiredis"))
    if sys.platform != "win32" and find_spec("uvloop") is None:
        found.append(
            NO_UVLOOP.found("uvloop is not installed here", "pip install 'uow-worker[run]'")
        )
    return found


@check(Needs.NOTHING)
async def code(visit: Visit) -> list[Finding]:
    """Whether the task functions can be loaded here."""
    if visit.code.rowless is not None:
        return []
    mend = "run it where the workers' code is, with WORKER_TASK_MODULES or --app"
    return [NO_CODE.found(visit.code.missing, mend)]
