"""Numbers: what waits, runs, ends and fails. Each says how far it is to be believed."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from uow.api.deps import ClientDep, DatabaseDep, SettingsDep
from uow.api.once import AnsweringRoute
from uow.api.schemas import MAX_TEXT
from uow.db.rates import ErrorsBy, Span
from uow.questions import failures as failing
from uow.questions import numbers
from uow.questions.failures import FailureCount
from uow.questions.loads import Load, RatePoint
from uow.questions.numbers import MOST_POINTS
from uow.questions.schedules import ShownSchedule, shown_schedules
from uow.questions.servers import ServerNumbers, server_numbers
from uow.questions.user import UserNumbers, user_numbers
from uow.questions.users import NewestUsers, newest_users_of

router = APIRouter(prefix="/api", tags=["numbers"], route_class=AnsweringRoute)

WITHOUT_NUL = r"^[^\x00]*$"
"""What Postgres can compare with anything."""

Text = Annotated[str | None, Query(max_length=MAX_TEXT, pattern=WITHOUT_NUL)]
User = Annotated[str, Path(max_length=MAX_TEXT, pattern=WITHOUT_NUL)]


def _example(value: object) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": value}}}}


_EXACT = {"value": 3, "source": "exact"}
_PERCENTILES = {"p50": 0.014, "p95": 0.081, "p99": 0.33, "source": "rollup"}
_RATES = {
    "minute": {
        "span": "minute", "since": "2030-01-31T12:00:00Z", "until": "2030-01-31T12:01:00Z",
        "ended": {"completed": 118, "retry": 2}, "per_second": 2.0, "waited": _PERCENTILES,
        "ran": _PERCENTILES, "source": "rollup",
    },
}  # fmt: skip
_LOAD = {
    "name": "mail", "waiting": {"value": 10000, "source": "capped"},
    "oldest_seconds": {"value": 4.2, "source": "capped"},
    "later": {"value": 12, "source": "capped"}, "running": _EXACT,
    "longest_seconds": {"value": 0.8, "source": "exact"}, "in_redis": {"value": 48213,
    "source": "exact"}, "rates": _RATES,
}  # fmt: skip
_USER = {
    "user_id": "ann", "looked_at": {"value": 40, "source": "exact"}, "waiting": _EXACT,
    "oldest_seconds": {"value": 4.2, "source": "exact"}, "later": _EXACT, "running": _EXACT,
    "states": {"succeeded": {"value": 31, "source": "exact"}},
    "names": {"mails.send": {"value": 40, "source": "exact"}},
    "backlog": {"mails.send": {"value": 9, "source": "exact"}}, "rates": {},
}  # fmt: skip
_USERS = {
    "looked_at": 2000, "are_all": False, "of_nobody": 12,
    "users": [{"user_id": "ann", "tasks": 40, "unsettled": 3, "running": 1, "failed": 2}],
}  # fmt: skip
_FAILURE = {
    "key": "TimeoutError", "failed": {"value": 214, "source": "rollup"}, "types": 1, "names": 2,
    "since": "2030-01-31T08:00:00Z", "latest": "2030-01-31T12:00:00Z",
}  # fmt: skip
_POINT = {
    "at": "2030-01-31T12:00:00Z", "ended": {"completed": 118, "failed": 2},
    "waited": _PERCENTILES, "ran": _PERCENTILES, "source": "rollup",
}  # fmt: skip

_SCHEDULE = {
    "app": "shop",
    "name": "daily",
    "task": "reports.make",
    "queue": "arq:queue",
    "expression": "0 9 * * mon-fri",
    "timezone": "Europe/Berlin",
    "when": "at 09:00 on Monday to Friday",
    "state": "active",
    "next_ticks": ["2030-02-01T08:00:00Z"],
    "last_tick": "2030-01-31T08:00:00Z",
    "last_task_id": "019a9d2e-6b1c-7c3e-9b1f-0d2c5a7e4f11",
    "last_outcome": "succeeded",
    "missed": None,
    "waiting": 0,
    "ticks": [],
}
_SERVERS = {
    "postgres": {
        "version": "16.4", "standby": False, "connections": {"value": 97, "source": "exact"},
        "vacuums": True,
    },
    "tables": [{
        "name": "task", "bytes": {"value": 482344960, "source": "exact"},
        "rows": {"value": 1000000, "source": "estimate"},
        "dead": {"value": 8120, "source": "estimate"}, "vacuumed_at": "2030-01-31T11:58:00Z",
    }],
    "replicas": [{
        "name": "replica-1", "state": "streaming", "sync_state": "async",
        "lag_bytes": {"value": 4096, "source": "exact"},
        "lag_seconds": {"value": 0.2, "source": "estimate"},
    }],
    "redis": None,
    "redis_trouble": "Redis does not say: TimeoutError",
    "unknown": {"redis": "Redis does not say: TimeoutError"},
}  # fmt: skip


@router.get("/queues", responses=_example([_LOAD]))
async def list_queues(
    db: DatabaseDep, settings: SettingsDep, client: ClientDep, name: Text = None
) -> list[Load]:
    """Each queue: what waits, runs and has ended lately; `name`: of this task function alone."""
    return await numbers.queue_loads(db, settings.dead_after, client.redis, name=name)


@router.get("/names", responses=_example([_LOAD | {"name": "mails.send", "in_redis": None}]))
async def list_names(db: DatabaseDep, settings: SettingsDep, queue: Text = None) -> list[Load]:
    """Each task function: the same; `queue`: in this one alone."""
    return await numbers.name_loads(db, settings.dead_after, queue=queue)


@router.get("/users", responses=_example(_USERS))
async def list_users(db: DatabaseDep) -> NewestUsers:
    """Whose the 2,000 newest tasks of all are; whoever has most that is not settled comes first."""
    return await newest_users_of(db)


@router.get("/users/{user_id:path}", responses=_example(_USER))
async def show_user(user_id: User, db: DatabaseDep) -> UserNumbers:
    """A user's numbers, from the 2,000 newest tasks."""
    return await user_numbers(db, user_id)


@router.get("/errors", responses=_example([_FAILURE]))
async def list_errors(
    db: DatabaseDep,
    by: ErrorsBy = "error",
    since: Annotated[str, Query(max_length=MAX_TEXT, description="As 90m, 12h, 3d.")] = "24h",
    error: Text = None,
    name: Text = None,
) -> list[FailureCount]:
    """What attempts have failed by, in whole hours of UTC; the most frequent first."""
    hours = failing.hours_of(since)
    return await failing.failures(db, by, hours=hours, error=error, name=name)


@router.get("/stats", responses=_example([_POINT]))
async def list_points(
    db: DatabaseDep,
    span: Span = "minute",
    last: Annotated[int | None, Query(ge=1, le=max(MOST_POINTS.values()))] = None,
    queue: Text = None,
    name: Text = None,
) -> list[RatePoint]:
    """What has ended by minute (30; 180 at most), hour (24; 168) or day (7; 30), oldest first."""
    return await numbers.points(db, span, last, queue=queue, name=name)


@router.get("/schedules", responses=_example([_SCHEDULE]))
async def list_schedules(db: DatabaseDep, settings: SettingsDep) -> list[ShownSchedule]:
    """The schedules of all services whose tables these are, with their latest ticks."""
    return await shown_schedules(db, settings.app)


@router.get("/servers", responses=_example(_SERVERS))
async def show_servers(db: DatabaseDep, client: ClientDep) -> ServerNumbers:
    """The sizes of our tables, the lag of replicas, the memory of Redis; what is `unknown`."""
    return await server_numbers(db, client.redis)
