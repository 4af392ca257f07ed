"""What Postgres says of our tables and of its replicas: from its catalog, without any row."""

from dataclasses import dataclass
from datetime import datetime

from uow.db.autogenerate import OUR_TABLES
from uow.db.statement import TEXT, TEXTS, Statements, template

_TABLE_SIZES = template(
    "table_sizes",
    """
    SELECT CAST(relation.relname AS text) AS name,
           pg_total_relation_size(relation.oid) AS bytes,
           greatest(CAST(relation.reltuples AS bigint), 0) AS rows,
           coalesce(pg_stat_get_dead_tuples(relation.oid), 0) AS dead,
           greatest(pg_stat_get_last_vacuum_time(relation.oid),
                    pg_stat_get_last_autovacuum_time(relation.oid)) AS vacuumed_at
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
    WHERE CAST(space.nspname AS text) = :schema AND CAST(relation.relname AS text) = ANY(:tables)
      AND relation.relkind IN ('r', 'p')
    ORDER BY bytes DESC, name
    """,
    schema=TEXT,
    tables=TEXTS,
)

_REPLICAS = template(
    "read_replicas",
    # Without the right to see it (pg_monitor) the places are NULL.
    """
    SELECT CAST(application_name AS text) AS name, CAST(state AS text) AS state,
           CAST(sync_state AS text) AS sync_state,
           CASE WHEN NOT pg_is_in_recovery()
                THEN CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS bigint)
           END AS lag_bytes,
           CAST(date_part('epoch', replay_lag) AS double precision) AS lag_seconds
    FROM pg_catalog.pg_stat_replication ORDER BY 1
    """,
)


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table of ours.

    Attributes:
        bytes: With its indexes.
        rows: As Postgres believes since it looked last.
        dead: Versions of rows that are to be removed, as it believes.
        vacuumed_at: When it was last cleaned; None: never.
    """

    name: str
    bytes: int
    rows: int
    dead: int
    vacuumed_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredReplica:
    """A replica, as the primary sees it; None: our role may not know, or it has none.

    Attributes:
        lag_bytes: Of WAL that it has not applied yet.
        lag_seconds: For which something that was written was not to be seen there, lately.
    """

    name: str
    state: str | None
    sync_state: str | None
    lag_bytes: int | None
    lag_seconds: float | None


async def read_table_sizes(db: Statements, schema: str) -> list[StoredTable]:
    """Our tables, the largest first."""
    statement = _TABLE_SIZES(schema=schema, tables=sorted(OUR_TABLES))
    return [StoredTable(*record) for record in await db.execute_once(statement)]


async def read_replicas(db: Statements) -> list[StoredReplica]:
    """The replicas of this server."""
    return [StoredReplica(*record) for record in await db.execute_once(_REPLICAS())]
