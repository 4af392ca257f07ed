"""Whose a queue is: a key beside it in Redis names the database whose tasks go there.

Two services that share a Redis and the default queue would swallow each other's jobs, for a job
whose row is not here is finished without running. So a worker takes a queue that is nobody's, and
does not start on another database's. A client takes none, and warns of one that is another's. What
is taken stays so until Redis is emptied or somebody takes it over.
"""

import json
import logging
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Protocol, Self

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from uow.broker import keys
from uow.broker.redis import AWAY, RedisClient
from uow.broker.refusals import is_refusal
from uow.db import fleet, rights
from uow.db.failures import PASSING, sqlstate
from uow.db.fleet import Identity
from uow.db.statement import SILENT_SECONDS, Statements
from uow.errors import InvalidOptions, SettingsError
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 15
"""For so long an owner's workers count as alive that have not said so again."""

LOOK_LIMIT = 5.0
"""Seconds that Postgres may take to tell a client who it is."""

LONGEST_WORD = 80
"""Characters of a name that are shown."""

MOST_QUEUES = 1000
"""Names that a client keeps in mind."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A set of our tables, as it is told from every other one.

    Attributes:
        id: Of the tables, wherever they are moved to; the rest is for people.
    """

    id: str
    database: str = "?"
    schema: str = "?"
    app: str = "?"

    @classmethod
    def from_json(cls, written: bytes) -> Self:
        """As it was written, by whichever version."""
        try:
            said = json.loads(written)
            return cls(**{name: _plain(said.get(name, "?")) for name in cls.__dataclass_fields__})
        except (ValueError, AttributeError):
            return cls(_plain(written.decode(errors="replace")))

    def to_json(self) -> str:
        """As it is written into Redis."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return (
            f"database {self.database!r}, schema {self.schema!r} (WORKER_APP={self.app}, "
            f"{self.id[:8]})"
        )


def _plain(said: object) -> str:
    """What may be shown of what anybody may have written."""
    return "".join(char if char.isprintable() else "?" for char in str(said)[:LONGEST_WORD])


class Tables(Statements, Protocol):
    """A set of our tables, and who asks it: a `Database`."""

    @property
    def schema(self) -> str:
        """Where they are."""

    @property
    def engine(self) -> AsyncEngine | Engine:
        """What leads to them."""


async def identify(db: Tables, app: str, *, limit: float = SILENT_SECONDS) -> Owner:
    """Who we are, by our tables.

    Raises:
        SchemaError: Our role may not read them; with the grant.
    """
    try:
        row = await _identity(db, limit)
    except PASSING as error:
        if sqlstate(error) != rights.REFUSED:
            raise
        raise rights.to_identify(db.schema, db.engine.url.username, error) from error
    return Owner(str(row.id), row.database, db.schema, app)


async def _identity(db: Tables, limit: float) -> Identity:
    found = await fleet.identity(db, limit=limit)
    if found is None:  # somebody has emptied every table there is
        await fleet.make_identity(db, limit=limit)
        found = await fleet.identity(db, limit=limit)
        assert found is not None  # noqa: S101 - it was just made
    return found


async def claim_queues(redis: RedisClient, queues: Iterable[str], us: Owner) -> dict[str, Owner]:
    """Take those of `queues` that are nobody's; returns those that are others', with whose.

    Raises:
        RedisError, OSError: Redis is away or refuses.
    """
    names = list(queues)
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.set(keys.owner(name), us.to_json(), nx=True)
            pipe.get(keys.owner(name))
        answers = await pipe.execute()
    return _others(names, answers[1::2], us)


async def say_alive(redis: RedisClient, queues: Iterable[str]) -> None:
    """Say that workers of the owner, which we are, serve `queues`: nobody may take them over."""
    async with redis.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.set(keys.owner_lives(queue), "", ex=ALIVE_SECONDS)
        await pipe.execute()


async def claim_or_refuse(redis: RedisClient, queues: Iterable[str], us: Owner) -> None:
    """Take the queues that a worker is to serve; while Redis is away, none: the leader does later.

    Raises:
        SettingsError: One is another database's; it names both, and says what to do.
    """
    try:
        others = await claim_queues(redis, queues, us)
    except AWAY as error:
        if is_refusal(error):
            raise SettingsError(f"WORKER_REDIS_URL: Redis refuses us: {error}") from error
        return
    for queue, owner in others.items():
        raise SettingsError(
            f"WORKER_QUEUE: queue {queue!r} of this Redis is that of {owner}, and this is {us}: "
            "take another name, or another database of Redis. If those tables were moved to here, "
            f"or are gone for good, take it over: worker queue take-over {queue}"
        )


async def take_over(
    redis: RedisClient, queue: str, us: Owner, *, force: bool = False
) -> Owner | None:
    """Make a queue ours whoever had it; its jobs stay.

    Args:
        force: Though a worker serves it now.

    Returns:
        Whose it was; None: nobody's, or ours.

    Raises:
        InvalidOptions: A worker of its owner serves it, or did so `ALIVE_SECONDS` ago.
        RedisError, OSError: Redis is away or refuses.
    """
    others = await claim_queues(redis, [queue], us)
    if not others:
        return None
    owner = others[queue]
    if not force and await redis.exists(keys.owner_lives(queue)):
        raise InvalidOptions(
            f"queue {queue!r} is that of {owner}, and a worker of it serves the queue, or did so "
            f"{ALIVE_SECONDS} s ago: stop its workers first, or say --force"
        )
    await redis.set(keys.owner(queue), us.to_json())
    await redis.delete(keys.owner_lives(queue))
    return owner


class Onlooker:
    """Warns, once for each queue, that a client pushes to another database's."""

    def __init__(self, db: Tables, redis: RedisClient, app: str) -> None:
        self._db = db
        self._redis = redis
        self._app = app
        self._seen: set[str] = set()

    async def look_at(self, queues: Collection[str]) -> None:
        """See whose those are that are new; it is optional, so it has one try and never fails."""
        new = [queue for queue in queues if queue not in self._seen]
        if not new or len(self._seen) > MOST_QUEUES:
            return
        self._seen.update(new)
        try:
            us = await identify(self._db, self._app, limit=LOOK_LIMIT)
            found = await self._redis.mget([keys.owner(queue) for queue in new])
        except Exception as error:
            logger.debug("whose queues these are could not be seen: %s", one_line(error))
            return
        for queue, owner in _others(new, found, us).items():
            logger.warning(
                "tasks of %s are pushed to queue %r, which is that of %s: its workers finish them "
                "without running them. Is WORKER_QUEUE right, or WORKER_REDIS_URL?",
                us, queue, owner,
            )  # fmt: skip


def _others(names: list[str], found: list[bytes | None], us: Owner) -> dict[str, Owner]:
    owners = {
        name: Owner.from_json(written)
        for name, written in zip(names, found, strict=True)
        if written is not None
    }
    return {name: owner for name, owner in owners.items() if owner.id != us.id}
