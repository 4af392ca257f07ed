"""The statements of our migrations as text, for whoever has them run by somebody else.

Nothing is connected to. What a step does that depends on what is there is in the text, too, as a
block that looks when it is run: that nobody else migrates, that the schema is where it is said to
be, that no worker lives where none may.
"""

import io
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from uow.db.fragments import quoted
from uow.db.migrations.standing import chain
from uow.db.migrations.steps import ADVISORY_LOCK, LOCK_SECONDS
from uow.db.whereabouts import VERSION_TABLE
from uow.errors import SchemaError

BASE = "base"
"""Where nothing of ours is."""

_IS_AT = """
DO $at$ BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.{table} WHERE version_num = '{revision}') THEN
        RAISE EXCEPTION 'the schema is not at {revision}';
    END IF;
END $at$
"""


def statements(schema: str, start: str) -> Iterator[str]:
    """The text of each step from revision `start` on, or from `BASE`, in order.

    Raises:
        SchemaError: There is no such revision.
    """
    known = chain()
    if start != BASE and start not in known:
        raise SchemaError(f"no revision {start}; there are {BASE} and {', '.join(known)}")
    before = start
    for revision in known[0 if start == BASE else known.index(start) + 1 :]:
        yield f"-- {revision}\n{_step(schema, before, revision)}"
        before = revision


def _step(schema: str, before: str, revision: str) -> str:
    """One revision after the other: each is a transaction of its own, or none."""
    config = Config(output_buffer=io.StringIO())
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    module = ScriptDirectory.from_config(config).get_revision(revision).module
    in_transaction = not getattr(module, "concurrent", False)
    output = io.StringIO()
    config.attributes.update(
        schema=schema, version_table=VERSION_TABLE, output=output, rewrite=True,
        in_transaction=in_transaction, first=_first(schema, before, in_transaction=in_transaction),
    )  # fmt: skip
    target = revision if before == BASE else f"{before}:{revision}"
    command.upgrade(config, target, sql=True)
    return output.getvalue()


def _first(schema: str, before: str, *, in_transaction: bool) -> list[str]:
    """What a step begins with."""
    first = []
    if in_transaction:
        first.append(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        first.append(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:g}s'")
    if before == BASE:
        first.append(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
    else:
        looks = _IS_AT.format(schema=quoted(schema), table=VERSION_TABLE, revision=before)
        first.append(looks)
    return first
