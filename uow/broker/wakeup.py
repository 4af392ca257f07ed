"""The connection on which jobs are claimed, and which says when a queue has changed.

Redis remembers which keys a connection has read (`CLIENT TRACKING`) and says so, once, on a second
connection when somebody else changes one of them: a push by anybody, a removal, an expiry, a
FLUSHALL. Who has been told must read again to be told again, so that a busy worker is not told of
every push, and an idle one does not poll. "Somebody else" is every other connection, of our own
process too: what is to finish a job in silence goes through `run`.

Rules for the scripts that are run here:

- **The last thing that a script does to a queue is a read** (`ZCARD` will do), whatever it is for.
  A write ends the watch on the key, in silence where it is our own (`NOLOOP`). A read in the same
  script, after it, renews it, and nobody can come between.
- **Queues are in KEYS.** Redis before 7.2 watches the keys that the script was given when anything
  is read in it, whatever that is; later ones watch what is read. Only `queues` wake the worker, so
  the rest costs Redis a little memory and no more.
- A write that changes nothing (ZADD with the same score) says nothing.

States: *told* (both connections live and Redis has agreed), *not told* (one is lost, or Redis
refused). Claims work in both. Whenever a connection was made anew, and something may have been
missed, there is one `on_change`, after Redis has been asked.

| what happens | what follows |
|---|---|
| either connection is lost | not told; both are had again, at once and then every 0.05 to 2 s; told; `on_change` |
| Redis hangs | `run` raises after the socket timeout; the listener is asked every 10 s |
| Redis has become a replica | `run` raises a `ResponseError`; connected anew, perhaps to another |
| Redis refuses | one warning in the process's life; asked again when a connection was lost |
| FLUSHALL, FLUSHDB | `on_change` |
| `run` is cancelled | the script runs all the same; its answer is dropped |
"""  # noqa: E501 - a table

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from redis.exceptions import ResponseError

from uow.broker.connection import ScriptConnection
from uow.broker.redis import AWAY, RedisClient
from uow.broker.wire import Detour, Wire, Word, open_wire
from uow.service import Service

logger = logging.getLogger(__name__)

CHANNEL = "__redis__:invalidate"
"""Redis's own name."""

POLL_SECONDS = 0.05
"""How often a worker should look at its queues while it is not told."""

PING_SECONDS = 10.0
"""How often the listening connection is asked whether it lives: a dead peer says nothing."""


class WatchedConnection(Service):
    """Runs scripts, and says when a queue that one of them has read has been changed by others.

    Start it to be told; `run` works without. Stop it after the last `run`.

    Args:
        redis: Gives the address, the login and the timeouts; its pool is not used.
        queues: The keys whose changes count.
        on_change: Called when one of them may have changed; must return at once and not raise.
        on_death: As for every `Service`.
    """

    passing = AWAY
    pause_after_error = 0.05
    pause_cap = 2.0

    def __init__(
        self,
        redis: RedisClient,
        queues: Iterable[str],
        on_change: Callable[[], None],
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(PING_SECONDS, on_death)
        self._redis = redis
        self._queues = frozenset(queue.encode() for queue in queues)
        self._on_change = on_change
        self._claimer = ScriptConnection(redis, self.wake)
        self._listener: Wire | Detour | None = None
        self._asked: Wire | Detour | None = None
        self._agreed = False

    @property
    def is_told(self) -> bool:
        """Whether Redis tells of changes; if not, look every `POLL_SECONDS`."""
        return self._agreed and self._is_arranged()

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[Word]) -> Any:
        """As `ScriptConnection.run`; after an error pause, whatever `on_change` says."""
        return await self._claimer.run(script, keys, arguments)

    async def run_once(self) -> None:
        """Have both connections, and Redis's word that one tells of the other."""
        claimer = await self._claimer.connected()
        if self._listener is not None and self._is_arranged():
            await _ping(self._listener)
            return
        self._asked = None
        if self._listener is not None:
            self._listener.close()
        self._listener = await open_wire(self._redis, self.wake, self._hear)
        self._agreed = await self._arrange(claimer, self._listener)
        self._asked = claimer
        self._on_change()

    async def stop(self) -> None:
        """Be told no more, and close both connections; a later `run` opens one again."""
        await super().stop()
        await self._claimer.close()
        if self._listener is not None:
            self._listener.close()

    def _is_arranged(self) -> bool:
        """Whether Redis has been asked about the connections that we have."""
        claimer, listener = self._claimer.wire, self._listener
        if claimer is None or listener is None or listener.is_lost:
            return False
        return self._asked is claimer

    async def _arrange(self, claimer: Wire | Detour, listener: Wire | Detour) -> bool:
        try:
            number = await listener.send("CLIENT", "ID")
            await claimer.send("CLIENT", "TRACKING", "ON", "REDIRECT", number, "NOLOOP")
            await listener.send("SUBSCRIBE", CHANNEL)
        except ResponseError as error:
            await _ping(listener)  # if it was lost meanwhile, this was no refusal
            _warn_once(str(error))
            return False
        return True

    def _hear(self, keys: list[bytes] | None) -> None:
        if keys is None or not self._queues.isdisjoint(keys):  # None: all of them
            self._on_change()


async def _ping(wire: Wire | Detour) -> None:
    with contextlib.suppress(ResponseError):  # a refusal is an answer
        await wire.send("PING")


@cache
def _warn_once(refusal: str) -> None:
    logger.warning(
        "Redis will not tell us of changes (%s): the worker looks at its queues every %d ms "
        "instead, which starts tasks later and costs Redis more. Its user needs +client|id "
        "+client|tracking +subscribe &%s, and no proxy may stand in between",
        refusal,
        POLL_SECONDS * 1000,
        CHANNEL,
    )
