"""Names, queues, types of errors and schedules that somebody may mean: for completion."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from uow.db import known_words
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.db.known_words import KnownWords
from uow.tasks.registry import Registry


async def words_known(db: Database, registry: Registry, queues: Iterable[str]) -> KnownWords:
    """What this process, the workers, the schedules and the rollup name; of users nothing."""
    found = KnownWords()
    with suppress(*PASSING):  # lists are whole without it
        found = await known_words.read_known_words(db)
    names = {function.name for function in registry} | {*found.names}
    return replace(
        found, names=tuple(sorted(names)), queues=tuple(sorted({*found.queues, *queues}))
    )
