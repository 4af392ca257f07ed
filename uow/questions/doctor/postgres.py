"""The server of our tables: its version, its settings, and what keeps it from cleaning up."""

from uow.db import proxies, server_facts
from uow.db.server_facts import DeadRows, ServerFacts
from uow.questions.doctor.finding import Finding, broken, unknown, warning
from uow.questions.doctor.visit import Needs, Visit, check

OLDEST, OLDEST_SAID = 130000, "13"
"""The oldest version whose functions our statements use."""

OPEN_SECONDS = 900.0
"""A transaction that has been open for longer keeps too many dead rows."""

PREPARED_SECONDS = 60.0
"""Longer than any transaction manager takes between PREPARE and COMMIT."""

LAG_BYTES = 64 * 2**20
"""Of WAL, four files: a replica that is further behind is not one moment behind."""

DEAD_ROWS = 100_000
"""Fewer are what a busy minute leaves behind."""

BEHIND_TIMES = 3.0
"""So many times what starts autovacuum on a table: it should have come."""

BESIDE_POOL = 1
"""Connections of a worker process beside its pool: the heartbeat's."""

OLD = broken("postgres.version", "Statements of ours use what this Postgres does not have.")
STANDBY = broken("postgres.read-only", "Nothing can be enqueued or run: it takes no writes.")
FEW = warning(
    "postgres.connections", "Processes will be refused connections when their pools are full."
)
UNVACUUMED = broken("postgres.autovacuum-off", "The table of tasks only grows, and gets slower.")
BEHIND = warning("postgres.autovacuum-behind", "Dead rows pile up: every look at tasks is slower.")
LAGS = warning("postgres.replica-lag", "After a failover to it what it lacks is lost.")
LAG_UNSEEN = unknown("postgres.replica-unseen", "How far a replica is behind is not shown to us.")
OPEN = warning("postgres.old-transaction", "No row that died since it began can be cleaned up.")
HIDDEN = unknown(
    "postgres.sessions-hidden", "Whether a session of another role is open for long is not shown."
)
SLOT = warning("postgres.idle-slot", "WAL is kept for it until the disk is full.")
PREPARED = warning(
    "postgres.prepared", "It holds its locks, and dead rows, until somebody ends it."
)
NO_POOLER = warning(
    "postgres.no-pooler", "Each statement is prepared anew for a proxy that is not there."
)
POOLER = broken(
    "postgres.pooler-mode", "What one connection prepares may be executed on another's."
)


@check(Needs.POSTGRES)
async def version(visit: Visit) -> list[Finding]:
    """Whether it is new enough, and takes writes."""
    facts = await server_facts.server_facts(visit.db)
    found = []
    if facts.version < OLDEST:
        said = f"it is {facts.version // 10000}.{facts.version % 10000}"
        found.append(OLD.found(said, f"upgrade it to {OLDEST_SAID} or later"))
    if facts.standby:
        mend = "lead WORKER_DATABASE_URL to the primary, or name all hosts of the cluster in it"
        found.append(STANDBY.found("pg_is_in_recovery() is true", mend))
    return found


@check(Needs.TABLES)
async def connections(visit: Visit) -> list[Finding]:
    """Whether there are enough for the pools of all processes that live."""
    if visit.settings.database_pooler:
        return []  # it is the proxy that has them
    facts = await server_facts.server_facts(visit.db)
    processes = len(await visit.processes())
    each = visit.settings.require_database().pool_size + BESIDE_POOL
    there, setting = _most(facts)
    if processes * each <= there:
        return []
    said = f"{processes} processes with up to {each} connections need {processes * each}; "
    said += f"{setting} leaves {there}"
    return [FEW.found(said, f"raise {setting}, lower WORKER_POOL_SIZE, or put PgBouncer before it")]


def _most(facts: ServerFacts) -> tuple[int, str]:
    """How many connections our role may have, and what says so."""
    limits = [(facts.connections, "max_connections")]
    if facts.of_role >= 0:
        limits.append((facts.of_role, "the role's CONNECTION LIMIT"))
    if facts.of_database >= 0:
        limits.append((facts.of_database, "the database's CONNECTION LIMIT"))
    return min(limits)


@check(Needs.TABLES)
async def autovacuum(visit: Visit) -> list[Finding]:
    """Whether it runs, and keeps up with the table of tasks."""
    facts = await server_facts.server_facts(visit.db)
    if not facts.vacuums:
        mend = "ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; "
        mend += "SELECT pg_reload_conf()"
        return [UNVACUUMED.found("autovacuum or track_counts is off", mend)]
    rows = await server_facts.dead_rows(visit.db, visit.db.schema)
    if rows is None:
        return []
    table = f'"{visit.db.schema}".task'
    options = dict(one.split("=", 1) for one in rows.options.split())
    if options.get("autovacuum_enabled", "true") in ("false", "off", "0", "no"):
        mend = f"ALTER TABLE {table} RESET (autovacuum_enabled)"
        return [UNVACUUMED.found(f"autovacuum is off for {table}", mend)]
    if rows.dead <= max(DEAD_ROWS, BEHIND_TIMES * _vacuumed_at(rows, options)):
        return []
    last = "never" if rows.ago is None else f"{rows.ago:.0f} s ago"
    said = f"{rows.dead:,} dead rows beside {rows.rows:,}; last vacuum: {last}"
    return [BEHIND.found(said, f"VACUUM (ANALYZE) {table}; see postgres.old-transaction, too")]


def _vacuumed_at(rows: DeadRows, options: dict[str, str]) -> float:
    """From how many dead rows on autovacuum comes."""
    threshold = float(options.get("autovacuum_vacuum_threshold", rows.threshold))
    scale = float(options.get("autovacuum_vacuum_scale_factor", rows.scale))
    return threshold + scale * rows.rows


@check(Needs.POSTGRES)
async def replicas(visit: Visit) -> list[Finding]:
    """How far replicas are behind, by what they have applied."""
    found = []
    for one in await server_facts.replicas(visit.db):
        who = f"replica {one.name} ({one.address or 'local'})"
        if one.behind is None:
            role = (await server_facts.server_facts(visit.db)).role
            mend = f'GRANT pg_monitor TO "{role}"; or it has only begun: ask again'
            found.append(LAG_UNSEEN.found(f"{who} shows no replay_lsn", mend))
        elif one.behind > LAG_BYTES:
            said = f"{who} is {one.behind / 2**20:,.0f} MiB behind"
            mend = "look at the replica: its disk, its network, a long query that holds it up"
            found.append(LAGS.found(said, mend))
    return found


@check(Needs.POSTGRES)
async def transactions(visit: Visit) -> list[Finding]:
    """Whether one has been open for long: it holds the oldest xmin."""
    found = [
        OPEN.found(
            f"process {one.pid} of {one.role} ({one.application or 'no name'}, {one.state}) has "
            f"been in a transaction for {one.seconds:,.0f} s",
            f"SELECT pg_terminate_backend({one.pid})",
        )
        for one in await server_facts.old_transactions(visit.db, OPEN_SECONDS)
    ]
    if hidden := await server_facts.hidden_sessions(visit.db):
        role = (await server_facts.server_facts(visit.db)).role
        mend = f'GRANT pg_read_all_stats TO "{role}"'
        found.append(HIDDEN.found(f"{hidden} sessions of other roles", mend))
    return found


@check(Needs.POSTGRES)
async def slots(visit: Visit) -> list[Finding]:
    """Whether a replication slot has no reader."""
    return [
        SLOT.found(
            f"{one.kind} slot {one.name} has no reader; {(one.kept or 0) / 2**20:,.0f} MiB of WAL "
            "are kept for it",
            f"start its reader, or SELECT pg_drop_replication_slot('{one.name}')",
        )
        for one in await server_facts.idle_slots(visit.db)
    ]


@check(Needs.POSTGRES)
async def prepared(visit: Visit) -> list[Finding]:
    """Whether a prepared transaction was left behind."""
    return [
        PREPARED.found(
            f"{one.gid!r} of {one.owner}, for {one.seconds:,.0f} s",
            "ROLLBACK PREPARED '" + one.gid.replace("'", "''") + "', or COMMIT PREPARED",
        )
        for one in await server_facts.prepared_transactions(visit.db, PREPARED_SECONDS)
    ]


@check(Needs.POSTGRES)
async def pooler(visit: Visit) -> list[Finding]:
    """Whether the proxy is what the setting says. One that no setting names is refused before."""
    said = visit.settings.database_pooler
    if not said:
        return []
    if await proxies.answers_itself(visit.database):
        proof = f"WORKER_DATABASE_POOLER={said}, but the server itself answers"
        return [NO_POOLER.found(proof, "unset WORKER_DATABASE_POOLER")]
    if said == "session" and await proxies.shares_connections(visit.database):
        proof = "two connections have had the same one of the server"
        return [POOLER.found(proof, "export WORKER_DATABASE_POOLER=transaction")]
    return []
