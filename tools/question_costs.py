"""The questions that `list_costs.py` asks beside the lists."""

from collections.abc import Awaitable, Callable, Sequence, Sized
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from uow import TaskClient
from uow.db import pauses, reading
from uow.db.rates import ErrorsBy, Span
from uow.questions import failures as failing
from uow.questions import following
from uow.questions.audit import audit_page
from uow.questions.following import EVERYTHING, Following
from uow.questions.glance import glance
from uow.questions.numbers import FEW_POINTS, MOST_POINTS, name_loads, points, queue_loads
from uow.questions.one_task import look_at
from uow.questions.redaction import Redaction
from uow.questions.schedules import shown_schedules
from uow.questions.servers import server_numbers
from uow.questions.user import user_numbers
from uow.questions.why import why
from uow.questions.workers import workers
from uow.settings.of_looking import REDACTED_KEYS
from uow.tasks.registry import Registry

Ask = Callable[[], Awaitable[str]]

SOME = 200
"""Tasks of a state that are asked about in turn."""

# From all over the table, through its key: a place in the ids is as good as any other.
_SOME_SETTLED = text("""
    SELECT found.id FROM generate_series(1, :some) AS n CROSS JOIN LATERAL (
        SELECT id FROM worker.task WHERE id > (
            SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM now() - n * interval '50 minutes')
                                         * 1000 AS bigint)), 12, '0') || repeat('0', 20) AS uuid))
        ORDER BY id LIMIT 1) AS found
""")

_SOME_FAILED = text("SELECT id FROM worker.task WHERE ended = 'failed' ORDER BY id LIMIT :some")

_SOME_UNSETTLED = text("""
    (SELECT id, state FROM worker.task WHERE settled_at IS NULL AND dispatch_at = 'infinity'
     ORDER BY dispatch_at, id OFFSET 300 LIMIT :some)
    UNION ALL
    (SELECT id, state FROM worker.task WHERE settled_at IS NULL AND dispatch_at < 'infinity'
     ORDER BY dispatch_at, id LIMIT :some)
    UNION ALL
    (SELECT unnest(running), 'running' FROM worker.worker_process)
""")


async def questions(client: TaskClient) -> dict[str, Ask]:
    """All of them, by name; each says what it has found."""
    return {
        **await _of_tasks(client),
        **_of_numbers(client),
        **_of_failures(client),
        **_of_the_fleet(client),
        **_of_the_audit(client),
        **await _of_followers(client),
    }


async def _of_tasks(client: TaskClient) -> dict[str, Ask]:
    db, settings = client.db, client.settings
    redaction = Redaction(REDACTED_KEYS, Registry())
    settled = await _ids(client, "settled")
    failed = await _ids(client, "failed")

    def one(ids: Sequence[UUID]) -> Ask:
        turn = cycle(ids)

        async def ask() -> str:
            found = await look_at(db, next(turn), redaction)
            return "none" if found is None else f"{found.state}"

        return ask

    async def view() -> str:
        found = await reading.read(db, failed[0])
        errors = await reading.read_errors(db, failed[0])
        return f"{found and found.state}, {len(errors)} errors"

    def reason(ids: Sequence[UUID]) -> Ask:
        turn = cycle(ids)

        async def ask() -> str:
            return (await why(db, client.redis, settings, next(turn))).name

        return ask

    states = ("queued", "scheduled", "retrying", "running")
    return {
        "one task": one(settled),
        "one task, failed": one(failed),
        "one task, not there": one([uuid4() for _ in range(SOME)]),
        "one task, without timeline": view,
        "why: settled": reason(settled),
        **{f"why: {state}": reason(await _ids(client, state)) for state in states},
    }


def _of_numbers(client: TaskClient) -> dict[str, Ask]:
    db, dead_after, redis = client.db, client.settings.dead_after, client.redis

    def plotted(span: Span, last: int, **fits: str) -> Ask:
        return lambda: _counted(points(db, span, last, **fits), "points")

    def of_user(user: str) -> Ask:
        async def ask() -> str:
            return f"of {(await user_numbers(db, user)).looked_at} tasks"

        return ask

    few: dict[str, Ask] = {
        f"plot, {FEW_POINTS[span]} {span}s": plotted(span, FEW_POINTS[span]) for span in FEW_POINTS
    }
    most: dict[str, Ask] = {
        f"plot, {MOST_POINTS[span]} {span}s": plotted(span, MOST_POINTS[span])
        for span in MOST_POINTS
    }
    return {
        "queues": lambda: _counted(queue_loads(db, dead_after, redis), "queues"),
        "queues, of a name": lambda: _counted(
            queue_loads(db, dead_after, redis, name="tasks.number_3"), "queues"
        ),
        "names": lambda: _counted(name_loads(db, dead_after), "names"),
        "names, in a queue": lambda: _counted(
            name_loads(db, dead_after, queue="arq:small"), "names"
        ),
        "user's numbers": of_user("77"),
        "big user's numbers": of_user("1"),
        "scattered user's numbers": of_user("few"),
        **few,
        **most,
        "plot, 180 minutes of a queue": plotted("minute", 180, queue="arq:queue"),
        "plot, 30 days of a name": plotted("day", 30, name="tasks.number_3"),
    }


def _of_failures(client: TaskClient) -> dict[str, Ask]:
    def lines(by: ErrorsBy, hours: int, **fits: str) -> Ask:
        return lambda: _counted(failing.failures(client.db, by, hours=hours, **fits), "lines")

    kinds: tuple[ErrorsBy, ...] = ("error", "name", "hour")
    return {
        **{f"failures by {by}, a day": lines(by, 24) for by in kinds},
        **{f"failures by {by}, 90 days": lines(by, failing.MOST_HOURS) for by in kinds},
        "failures of a type by name": lines("name", 24, error="Error1"),
        "failures of a name, 90 days": lines("error", failing.MOST_HOURS, name="tasks.number_3"),
    }


def _of_the_fleet(client: TaskClient) -> dict[str, Ask]:
    db, settings = client.db, client.settings

    async def overview() -> str:
        found = await glance(db, settings.dead_after)
        return f"{len(found.queues)} queues, {len(found.workers)} workers"

    async def servers() -> str:
        return f"{len((await server_numbers(db, client.redis)).tables)} tables"

    return {
        "overview": overview,
        "workers": lambda: _counted(workers(db, settings.dead_after), "workers"),
        "schedules": lambda: _counted(shown_schedules(db, settings.app), "schedules"),
        "servers": servers,
        "pauses": lambda: _counted(pauses.pauses(db), "pauses"),
    }


def _of_the_audit(client: TaskClient) -> dict[str, Ask]:
    def page(**fits: str) -> Ask:
        async def ask() -> str:
            found = await audit_page(client.db, **fits)  # type: ignore[arg-type]
            return f"{len(found.rows)} entries"

        return ask

    async def of_task() -> str:
        return f"{len((await audit_page(client.db, task_id=uuid4())).rows)} entries"

    return {
        "audit": page(),
        "audit, common actor": page(who="ann"),
        "audit, no such actor": page(who="nobody"),
        "audit, no such act": page(what="nothing"),
        "audit of a task": of_task,
    }


async def _of_followers(client: TaskClient) -> dict[str, Ask]:
    db, some = client.db, await _ids(client, "queued")

    def first(what: Following) -> Ask:
        return lambda: _counted(following.snapshot(db, what), "tasks")

    return {
        "events, all": first(EVERYTHING),
        "events of a task": first(Following(task=some[0])),
        "events of a user": first(Following(user="few")),
        "events, 200 changes": lambda: _counted(following.tasks_of(db, some), "tasks"),
    }


async def _ids(client: TaskClient, which: str) -> list[UUID]:
    """Some tasks that are settled, have failed, or are in another state."""
    statement = {"settled": _SOME_SETTLED, "failed": _SOME_FAILED}.get(which, _SOME_UNSETTLED)
    records: Sequence[Any] = (
        await client.db.execute_once(statement, {"some": SOME}, limit=60)
    ).all()
    return [record[0] for record in records if len(record) == 1 or record[1] == which]


async def _counted(answer: Awaitable[Sized], what: str) -> str:
    return f"{len(await answer)} {what}"
