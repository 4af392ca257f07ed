"""What Postgres says about itself, for whoever looks whether all is well."""

from collections.abc import Sequence
from dataclasses import dataclass

from uow.db.statement import REAL, TEXT, TEXTS, Statements, template

_SERVER = template(
    "server_facts",
    """
    SELECT CAST(current_setting('server_version_num') AS integer) AS version,
           pg_is_in_recovery() AS standby,
           CAST(current_setting('max_connections') AS integer)
               - CAST(current_setting('superuser_reserved_connections') AS integer) AS connections,
           (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user) AS of_role,
           (SELECT datconnlimit FROM pg_catalog.pg_database
            WHERE datname = current_database()) AS of_database,
           CAST(current_user AS text) AS role,
           CAST(current_setting('autovacuum') AS boolean)
               AND CAST(current_setting('track_counts') AS boolean) AS vacuums
    """,
)

_EPOCH = template(
    "server_epoch",
    "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now",
)

_DEAD_ROWS = template(
    "dead_rows",
    """
    SELECT n_dead_tup AS dead, CAST(greatest(reltuples, 0) AS bigint) AS rows,
           coalesce(array_to_string(reloptions, ' '), '') AS options,
           CAST(current_setting('autovacuum_vacuum_threshold') AS bigint) AS threshold,
           CAST(current_setting('autovacuum_vacuum_scale_factor') AS double precision) AS scale,
           CAST(extract(epoch FROM now() - greatest(last_autovacuum, last_vacuum))
                AS double precision) AS ago
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
    JOIN pg_catalog.pg_stat_all_tables AS counted ON counted.relid = relation.oid
    WHERE CAST(nspname AS text) = :schema AND CAST(relation.relname AS text) = 'task'
    """,
    schema=TEXT,
)

_INVALID_INDEXES = template(
    "invalid_indexes",
    """
    SELECT CAST(relation.relname AS text), pg_get_indexdef(relation.oid)
    FROM pg_catalog.pg_index AS index
    JOIN pg_catalog.pg_class AS relation ON relation.oid = indexrelid
    JOIN pg_catalog.pg_class AS ours ON ours.oid = indrelid
    JOIN pg_catalog.pg_namespace AS space ON space.oid = ours.relnamespace
    WHERE CAST(nspname AS text) = :schema AND CAST(ours.relname AS text) = ANY(:tables)
      AND NOT indisvalid
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS made
                      WHERE made.index_relid = indexrelid)
    """,
    schema=TEXT,
    tables=TEXTS,
)

_OLD_TRANSACTIONS = template(
    "old_transactions",
    """
    SELECT pid, CAST(coalesce(usename, '?') AS text), application_name, coalesce(state, '?'),
           CAST(extract(epoch FROM clock_timestamp() - xact_start) AS double precision) AS seconds
    FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'
      AND xact_start < clock_timestamp() - make_interval(secs => :seconds)
    ORDER BY xact_start LIMIT 3
    """,
    seconds=REAL,
)

_HIDDEN_SESSIONS = template(
    "hidden_sessions",
    """
    SELECT count(*) FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND query = '<insufficient privilege>'
    """,
)

_IDLE_SLOTS = template(
    "idle_slots",
    """
    SELECT CAST(slot_name AS text), slot_type,
           CAST(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                                     ELSE pg_current_wal_lsn() END, restart_lsn) AS bigint) AS kept
    FROM pg_catalog.pg_replication_slots WHERE NOT active ORDER BY 1 LIMIT 20
    """,
)

_PREPARED = template(
    "prepared",
    """
    SELECT gid, CAST(owner AS text),
           CAST(extract(epoch FROM now() - prepared) AS double precision) AS seconds
    FROM pg_catalog.pg_prepared_xacts
    WHERE database = current_database() AND prepared < now() - make_interval(secs => :seconds)
    ORDER BY prepared LIMIT 3
    """,
    seconds=REAL,
)

_REPLICAS = template(
    "replicas",
    """
    SELECT coalesce(application_name, '?'), CAST(client_addr AS text),
           CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS bigint) AS behind
    FROM pg_catalog.pg_stat_replication
    WHERE NOT pg_is_in_recovery() AND state IS DISTINCT FROM 'backup' ORDER BY 1 LIMIT 20
    """,
)

_MISSING_RIGHTS = template(
    "missing_rights",
    """
    SELECT CAST(relname AS text), wanted.name
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted (name)
    WHERE CAST(nspname AS text) = :schema AND CAST(relname AS text) = ANY(:tables)
      AND NOT has_table_privilege(relation.oid, wanted.name)
    ORDER BY 1, 2
    """,
    schema=TEXT,
    tables=TEXTS,
)

_MAY_USE = template(
    "may_use",
    """
    SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace
    WHERE CAST(nspname AS text) = :schema
    """,
    schema=TEXT,
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server that our database is in.

    Attributes:
        version: As a number, 150018 for 15.18.
        standby: It takes no writes.
        connections: How many there may be, those for superusers aside.
        of_role, of_database: How many of them our role and our database may have; -1: all.
        vacuums: Autovacuum is on.
    """

    version: int
    standby: bool
    connections: int
    of_role: int
    of_database: int
    role: str
    vacuums: bool


@dataclass(frozen=True, slots=True)
class DeadRows:
    """How far autovacuum is behind on `task`.

    Attributes:
        options: Of the table, as ``name=value`` with spaces between them.
        threshold, scale: Of the server, for tables without options.
        ago: Seconds since the last vacuum; None: there was none.
    """

    dead: int
    rows: int
    options: str
    threshold: int
    scale: float
    ago: float | None


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction of our database that has been open for long."""

    pid: int
    role: str
    application: str
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class IdleSlot:
    """A replication slot that nobody reads.

    Attributes:
        kept: Bytes of WAL that are kept for it; None: none yet.
    """

    name: str
    kind: str
    kept: int | None


@dataclass(frozen=True, slots=True)
class PreparedTransaction:
    """A prepared transaction that nobody has ended, and for how many seconds."""

    gid: str
    owner: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica.

    Attributes:
        behind: Bytes of WAL that it has not applied yet; None: we may not see it, or it has just
            begun.
    """

    name: str
    address: str | None
    behind: int | None


async def server_facts(db: Statements) -> ServerFacts:
    """The server."""
    (record,) = await db.execute_once(_SERVER())
    return ServerFacts(*record)


async def server_epoch(db: Statements) -> float:
    """What time it is by its clock, in seconds since 1970."""
    ((now,),) = await db.execute_once(_EPOCH())
    return float(now)


async def dead_rows(db: Statements, schema: str) -> DeadRows | None:
    """How far autovacuum is behind on `task`; None: there is no such table."""
    for record in await db.execute_once(_DEAD_ROWS(schema=schema)):
        return DeadRows(*record)
    return None


async def invalid_indexes(
    db: Statements, schema: str, tables: Sequence[str]
) -> list[tuple[str, str]]:
    """Indexes of ours that are written and never read, and that nobody makes now: name and
    definition."""
    records = await db.execute_once(_INVALID_INDEXES(schema=schema, tables=tables))
    return [(name, definition) for name, definition in records]


async def old_transactions(db: Statements, seconds: float) -> list[OpenTransaction]:
    """The three that have been open longest, and for longer than that."""
    records = await db.execute_once(_OLD_TRANSACTIONS(seconds=seconds))
    return [OpenTransaction(*record) for record in records]


async def hidden_sessions(db: Statements) -> int:
    """How many sessions of our database are other roles', and not shown to ours."""
    ((count,),) = await db.execute_once(_HIDDEN_SESSIONS())
    return int(count)


async def idle_slots(db: Statements) -> list[IdleSlot]:
    """The replication slots that nobody reads; 20 at most."""
    return [IdleSlot(*record) for record in await db.execute_once(_IDLE_SLOTS())]


async def prepared_transactions(db: Statements, seconds: float) -> list[PreparedTransaction]:
    """The three of our database that were prepared first, and longer ago than that."""
    records = await db.execute_once(_PREPARED(seconds=seconds))
    return [PreparedTransaction(*record) for record in records]


async def replicas(db: Statements) -> list[Replica]:
    """The replicas of the server; 20 at most."""
    return [Replica(*record) for record in await db.execute_once(_REPLICAS())]


async def missing_rights(
    db: Statements, schema: str, tables: Sequence[str]
) -> dict[str, list[str]]:
    """What our role may not do with our tables, by table."""
    missing: dict[str, list[str]] = {}
    records = await db.execute_once(_MISSING_RIGHTS(schema=schema, tables=tables))
    for table, right in records:
        missing.setdefault(table, []).append(right)
    return missing


async def may_use(db: Statements, schema: str) -> bool:
    """Whether our role may use the schema; also if there is none."""
    return all(may for (may,) in await db.execute_once(_MAY_USE(schema=schema)))
