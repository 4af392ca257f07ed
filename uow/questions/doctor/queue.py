"""Queues, what waits in them, and schedules."""

from uuid import UUID

from uow.broker.facts import owners_of, rows_named
from uow.db import fleet
from uow.db.fleet_facts import (
    LOOKED_AT,
    Work,
    rows_there,
    stale_schedules,
    unsettled_work,
)
from uow.questions.doctor.finding import Finding, broken, unknown, warning
from uow.questions.doctor.visit import Needs, Visit, check
from uow.tasks.queue_owner import Owner

PATIENCE_SECONDS = 10.0
"""A queue may be without a worker for so long: that of a deploy that stops before it starts."""

UNKNOWN_SECONDS = 60.0
"""A function may be unknown for so long: that of a deploy that begins with who enqueues."""

SUSPECT_SECONDS = 600.0
"""A suspect waits for so long to be alone, if the others are no longer than most."""

OVERDUE_SECONDS = 60.0
"""A tick is late by seconds where all is well."""

MOST_QUEUES = 100

UNSERVED = broken("queue.unserved", "What is due there waits for ever.")
UNKNOWN = warning(
    "queue.unknown-function", "They are handed back until WORKER_UNKNOWN_TASK_GRACE is over."
)
SUSPECT = warning("queue.stuck-suspect", "Processes died under it, and it waits to be alone.")
PARTLY = unknown("queue.partly", "More waits than is looked at.")
ANOTHERS = broken("queue.anothers", "Its workers finish our jobs without running them.")
STRANGE = broken("queue.strange-jobs", "A worker here finishes them without running them.")
UNSEEN = warning("schedules.unseen", "It fires nothing: no live worker has it.")
OVERDUE = broken("schedules.overdue", "Its tick is due, and nobody fires it.")


@check(Needs.TABLES)
async def waiting(visit: Visit) -> list[Finding]:
    """What nobody serves, nobody knows, and what is stuck, among the unsettled tasks."""
    work = await unsettled_work(visit.db)
    served = {one.queue for one in await fleet.queues(visit.db) if one.live}
    found = _unserved(work, served)
    for one in work:
        found += _of_function(one)
    if max(sum(one.pushed for one in work), sum(one.others for one in work)) >= LOOKED_AT:
        said = f"of what is pushed, and of what is not, the first {LOOKED_AT:,} were looked at"
        found.append(PARTLY.found(said, "ask again when less waits, or see `worker queues list`"))
    return found


def _unserved(work: list[Work], served: set[str]) -> list[Finding]:
    alone: dict[str, list[Work]] = {}
    for one in work:
        if one.queue not in served and one.due and (one.waited or 0) >= PATIENCE_SECONDS:
            alone.setdefault(one.queue, []).append(one)
    return [
        UNSERVED.found(
            f"no live worker serves queue {queue!r}; due tasks: {sum(one.due for one in those)}, "
            f"the first for {max(one.waited or 0 for one in those):,.0f} s",
            f"worker run --queue {queue}",
        )
        for queue, those in sorted(alone.items())
    ]


def _of_function(one: Work) -> list[Finding]:
    found = []
    if one.unknown and (one.unknown_for or 0) >= UNKNOWN_SECONDS:
        said = f"no worker that met them has {one.name!r}; tasks in queue {one.queue!r}: "
        said += f"{one.unknown}, the first for {one.unknown_for:,.0f} s"
        found.append(UNKNOWN.found(said, "deploy workers that have it, or cancel them"))
    if one.suspect is not None and (one.suspect_waits or 0) >= SUSPECT_SECONDS:
        said = f"suspects of {one.name!r} in queue {one.queue!r}: {one.suspects}; {one.suspect} "
        said += f"waits, the first for {one.suspect_waits:,.0f} s"
        mend = f"start a worker with WORKER_CONCURRENCY=1, or worker cancel {one.suspect}"
        found.append(SUSPECT.found(said, mend))
    return found


@check(Needs.TABLES | Needs.REDIS)
async def owners(visit: Visit) -> list[Finding]:
    """Whether the queues are ours, and their jobs."""
    identity = await fleet.identity(visit.db)
    queues = await _queues(visit)
    said = await owners_of(visit.redis, queues)
    found = []
    for queue, written in said.items():
        owner = Owner.from_json(written)
        if identity is None or owner.id != str(identity.id):
            proof = f"queue {queue!r} is that of {owner}; this is {visit.db.schema!r}"
            mend = f"another WORKER_QUEUE or Redis, or worker queue take-over {queue}"
            found.append(ANOTHERS.found(proof, mend))
    return found


@check(Needs.TABLES | Needs.REDIS)
async def strange_jobs(visit: Visit) -> list[Finding]:
    """Whether the first jobs of each queue have their rows here."""
    found = []
    for queue in await _queues(visit):
        named = await rows_named(visit.redis, queue)
        ids = [id_ for row in named.values() if (id_ := _as_id(row)) is not None]
        there = await rows_there(visit.db, ids) if ids else set()
        gone = [job for job, row in named.items() if row.lower() not in there]
        # What was settled and pruned meanwhile has left the queue before its row.
        if gone:
            still = await rows_named(visit.redis, queue)
            gone = [job for job in gone if job in still]
        if gone:
            proof = f"{len(gone)} of the first {len(named)} jobs of queue {queue!r} name rows that "
            proof += f"are not here, as {gone[0]}"
            mend = "see whose they are (queue.anothers): whoever pushes them has another database"
            found.append(STRANGE.found(proof, mend))
    return found


async def _queues(visit: Visit) -> list[str]:
    """Those that are served here, and those that our settings name."""
    served = [one.queue for one in await fleet.queues(visit.db)]
    return sorted({*served, *visit.settings.served_queues})[:MOST_QUEUES]


def _as_id(row: str) -> UUID | None:
    try:
        return UUID(row)
    except ValueError:
        return None


@check(Needs.TABLES)
async def schedules(visit: Visit) -> list[Finding]:
    """Whether each schedule is in some worker's code, and fires."""
    found = []
    for one in await stale_schedules(visit.db, OVERDUE_SECONDS):
        who = f"schedule {one.name!r} of {one.app!r}"
        if one.unseen:
            said = f"{who} was last in a worker's code at {one.seen_at:%Y-%m-%d %H:%M} UTC"
            mend = f"start workers of WORKER_APP={one.app}, or worker cron pause {one.name}"
            found.append(UNSEEN.found(said, mend))
        else:
            said = f"{who} was due {one.overdue or 0:,.0f} s ago"
            found.append(OVERDUE.found(said, "see fleet.leaderless, and the log of the leader"))
    return found
