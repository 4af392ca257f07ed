"""One connection on which scripts run, several at a time; made when it is needed."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from uow.broker import scripts
from uow.broker.redis import RedisClient
from uow.broker.refusals import is_of_a_replica
from uow.broker.wire import Detour, Wire, Word, open_wire


class ScriptConnection:
    """Runs scripts.

    Args:
        redis: Gives the address, the login and the timeouts; its pool is not used.
        on_change: Called when the connection was made or lost.
    """

    def __init__(self, redis: RedisClient, on_change: Callable[[], None] = lambda: None) -> None:
        self._redis = redis
        self._on_change = on_change
        self._wire: Wire | Detour | None = None
        self._opening: asyncio.Task[Wire | Detour] | None = None

    @property
    def wire(self) -> Wire | Detour | None:
        """The connection, if there is one at the moment."""
        return None if self._wire is None or self._wire.is_lost else self._wire

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[Word]) -> Any:
        """Run `scripts/<script>.lua`; may be called while another run is under way.

        Raises:
            RedisError, OSError: Redis is away, does not answer, or answers with an error; whether
                the script was run is then not known. The next call connects again; pause before it.
        """
        wire = self.wire or await self.connected()
        text, digest = _script(script)
        try:
            return await wire.send("EVALSHA", digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await wire.send("EVAL", text, len(keys), *keys, *arguments)
        except ResponseError as error:
            if is_of_a_replica(error):
                wire.close()  # after a failover, the address may lead to the new primary
            raise

    async def connected(self) -> Wire | Detour:
        """The connection; one attempt to have it serves all who wait.

        Raises:
            RedisError, OSError: Redis is away.
        """
        if self.wire is not None:
            return self.wire
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Close it; a later `run` opens it again."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._wire is not None:
            self._wire.close()

    async def _open(self) -> Wire | Detour:
        try:
            self._wire = await open_wire(self._redis, self._on_change)
            self._on_change()
            return self._wire
        finally:
            self._opening = None


@cache
def _script(name: str) -> tuple[str, str]:
    text = scripts.source(name)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
