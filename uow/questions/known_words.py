"""Names, queues, types of errors and schedules that somebody may mean: for completion."""

from collections.abc import Iterable
from dataclasses import replace

from uow.db import known_words
from uow.db.database import Database
from uow.db.known_words import KnownWords
from uow.tasks.registry import Registry

LONGEST_SECONDS = 1.0
"""Completion is not worth more."""


async def words_known(db: Database, registry: Registry, queues: Iterable[str]) -> KnownWords:
    """What this process, the workers, the schedules and the rollup name; of users nothing."""
    async with db.transaction(limit=LONGEST_SECONDS) as transaction:
        found = await known_words.read_known_words(transaction)
    names = {function.name for function in registry} | {*found.names}
    return replace(
        found, names=tuple(sorted(names)), queues=tuple(sorted({*found.queues, *queues}))
    )
