"""The statements about the fleet of worker processes: who lives, who leads, what they serve."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from uow.db.profile import Profile, Signs
from uow.db.statement import BOOLEAN, IDS, REAL, SILENT_SECONDS, TEXT, Statements, template

FLEET_DUTY = "fleet"
"""The one duty there is a leader for."""

_NOTHING, _NO_SIGNS = Profile(), Signs()

_BEAT = template(
    "beat",
    """
    INSERT INTO {worker_process} (
        id, app, queue, running, leaving,
        host, pid, version, slots, code, lease_seconds, unknown_task_grace,
        busy, lag, pool_busy, pool_idle, pool_room)
    VALUES (
        :worker, :app, :queue, :running, :leaving,
        :host, :pid, :version, :slots, :code, :lease_seconds, :unknown_task_grace,
        :busy, :lag, :pool_busy, :pool_idle, :pool_room)
    ON CONFLICT (id) DO UPDATE
    SET running = excluded.running, leaving = excluded.leaving,
        heartbeat_at = clock_timestamp(),
        busy = excluded.busy, lag = excluded.lag, pool_busy = excluded.pool_busy,
        pool_idle = excluded.pool_idle, pool_room = excluded.pool_room
    RETURNING xmax = 0 AS returned
    """,
    app=TEXT,
    running=IDS,
    leaving=BOOLEAN,
)

_ACQUIT = template(
    "acquit",
    """
    UPDATE {task} SET deaths = deaths - 1
    WHERE id = ANY(:ids) AND {unsettled} AND deaths > 0
    """,
    ids=IDS,
)

_LEAVE = template(
    "leave",
    """
    UPDATE {worker_process}
    SET leaving = true, running = '{{}}', heartbeat_at = '-infinity' WHERE id = :worker
    """,
)

_LEAD = template(
    "lead",
    """
    INSERT INTO {worker_leader} (duty, holder, until)
    VALUES (:duty, :worker, now() + make_interval(secs => :seconds))
    ON CONFLICT (duty) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE worker_leader.holder = excluded.holder OR worker_leader.until < now()
    RETURNING duty
    """,
    seconds=REAL,
)

_RESIGN = template(
    "resign",
    """
    UPDATE {worker_leader} SET until = '-infinity' WHERE duty = :duty AND holder = :worker
    """,
)

_NOTE_PULSE = template(
    "note_pulse",
    """
    INSERT INTO {worker_leader} (duty, holder, until, pulse)
    VALUES (:duty, '', '-infinity', :pulse)
    ON CONFLICT (duty) DO UPDATE SET pulse = excluded.pulse
    """,
)

_FIND_PULSE = template(
    "find_pulse",
    "SELECT pulse FROM {worker_leader} WHERE duty = :duty",
)

_QUEUES = template(
    "queues",
    """
    SELECT served.queue, bool_or(NOT process.leaving) AS live
    FROM {worker_process} AS process,
         unnest(string_to_array(process.queue, ',')) AS served (queue)
    GROUP BY served.queue
    """,
)

_IDENTITY = template(
    "identity",
    """
    SELECT id, current_database() AS database FROM {worker_identity}
    ORDER BY created_at, id LIMIT 1
    """,
)

_MAKE_IDENTITY = template(
    "make_identity",
    """
    INSERT INTO {worker_identity} (id)
    SELECT gen_random_uuid() WHERE NOT EXISTS (SELECT FROM {worker_identity})
    """,
)


@dataclass(frozen=True, slots=True)
class ServedQueue:
    """A queue that has a worker.

    Attributes:
        live: One of its workers is not about to leave.
    """

    queue: str
    live: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """Which set of tables this is.

    Attributes:
        database: The name of its database.
    """

    id: UUID
    database: str


async def beat(
    db: Statements,
    worker: str,
    *,
    app: str,
    queues: Sequence[str],
    running: Sequence[UUID],
    leaving: bool,
    profile: Profile = _NOTHING,
    signs: Signs = _NO_SIGNS,
    limit: float = SILENT_SECONDS,
) -> bool:
    """A process lives and runs these tasks.

    Args:
        leaving: It has been told to stop, so that its end, if it has to be a hard one, is no death.
        profile: What it is.
        signs: How it is.

    Returns:
        Whether it was taken for dead meanwhile (or is new).
    """
    statement = _BEAT(
        worker=worker,
        app=app,
        queue=",".join(queues),
        running=running,
        leaving=leaving,
        **asdict(profile),
        **asdict(signs),
    )
    ((returned,),) = await db.execute_once(statement, limit=limit)
    return bool(returned)


async def acquit(
    db: Statements, task_ids: Sequence[UUID], *, limit: float = SILENT_SECONDS
) -> None:
    """A process that was taken for dead is alive: it did not die under these tasks."""
    await db.execute_once(_ACQUIT(ids=task_ids), limit=limit)


async def leave(db: Statements, worker: str, *, limit: float = SILENT_SECONDS) -> None:
    """A process ends by itself: what it leaves behind is no death, and is taken at once."""
    await db.execute_once(_LEAVE(worker=worker), limit=limit)


async def lead(
    db: Statements, worker: str, seconds: float, *, limit: float = SILENT_SECONDS
) -> bool:
    """Take or keep the lead for so long; False: somebody else has it."""
    statement = _LEAD(duty=FLEET_DUTY, worker=worker, seconds=seconds)
    return bool(await db.execute_once(statement, limit=limit))


async def resign(db: Statements, worker: str, *, limit: float = SILENT_SECONDS) -> None:
    """Hand the lead over."""
    await db.execute_once(_RESIGN(duty=FLEET_DUTY, worker=worker), limit=limit)


async def note_pulse(db: Statements, pulse: str) -> None:
    """Name what the leader has left in Redis."""
    await db.execute_once(_NOTE_PULSE(duty=FLEET_DUTY, pulse=pulse))


async def find_pulse(db: Statements) -> str | None:
    """What the leader, whichever it was, has left in Redis last."""
    records = await db.execute_once(_FIND_PULSE(duty=FLEET_DUTY))
    return records[0][0] if records else None


async def queues(db: Statements) -> list[ServedQueue]:
    """Every queue that has a worker."""
    return [ServedQueue(*record) for record in await db.execute_once(_QUEUES())]


async def identity(db: Statements, *, limit: float = SILENT_SECONDS) -> Identity | None:
    """Which set of tables this is; None: somebody has emptied it."""
    records = await db.execute_once(_IDENTITY(), limit=limit)
    return Identity(*records[0]) if records else None


async def make_identity(db: Statements, *, limit: float = SILENT_SECONDS) -> None:
    """Let the tables be a set that is told from every other, unless they are one."""
    await db.execute_once(_MAKE_IDENTITY(), limit=limit)
