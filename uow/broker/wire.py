"""A raw connection to Redis: commands out, answers in order, several under way at once.

redis-py spends 40 to 60 µs of processor time on a command, most of it on timers, locks and two
layers of buffers. Here it is 6 to 12. redis-py still connects (TLS, login, Unix socket, database);
then its streams are put aside and the transport speaks to us.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from hiredis import Reader, pack_command
from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from uow.broker.redis import SOCKET_TIMEOUT, RedisClient

Word = str | int | bytes

_NOTHING = object()


class Wire(asyncio.Protocol):
    """An open connection, for as long as it lasts: once it is lost, another must be opened.

    A caller who is cancelled leaves his place in the order, and the answer is dropped when it
    comes; the command is run all the same.

    Args:
        writer: What redis-py has connected.
        timeout: Seconds after which an answer that did not come counts as a lost connection.
        on_lost: Called once, when the connection is lost or closed.
        on_message: Called with what comes on a channel that was subscribed to (RESP2).

    Attributes:
        is_lost: Whether it is of no use any more.
    """

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        timeout: float,
        on_lost: Callable[[], None],
        on_message: Callable[[Any], None] | None = None,
    ) -> None:
        self.is_lost = False
        self._writer = writer  # closes the transport when it is collected
        self._transport = writer.transport
        self._timeout = timeout
        self._on_lost, self._on_message = on_lost, on_message
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._clock: asyncio.TimerHandle | None = None
        self._transport.set_protocol(self)

    def send(self, *words: Word) -> Awaitable[Any]:
        """Send a command now; await the result for its answer.

        Raises:
            RedisError: The connection is lost; awaited: or the answer is an error.
        """
        if self.is_lost:
            raise RedisConnectionError("the connection to Redis is lost")
        self._transport.write(pack_command(words))  # type: ignore[arg-type]  # their stub
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((answer, self._loop.time()))
        if self._clock is None:
            self._clock = self._loop.call_later(self._timeout, self._look_at_the_clock)
        return answer

    def close(self) -> None:
        """Close it at once; whoever waits for an answer gets a `RedisConnectionError`."""
        self._lose(RedisConnectionError, "the connection to Redis was closed")

    def data_received(self, data: bytes) -> None:
        """Give each answer to who waits for it."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                self._take(reply)
        except InvalidResponse as error:
            self._lose(InvalidResponse, str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._lose(RedisConnectionError, f"the connection to Redis was lost: {exc or 'closed'}")

    def _take(self, reply: Any) -> None:
        if self._on_message is not None and type(reply) is list and reply[0] == b"message":
            self._on_message(reply[2])
            return
        if not self._waiting:
            raise InvalidResponse(f"Redis said something unasked: {reply!r:.200}")
        answer, _ = self._waiting.popleft()
        if answer.done():
            return  # its caller was cancelled
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)

    def _look_at_the_clock(self) -> None:
        """One timer for all commands: to set one for each costs as much as the command."""
        self._clock = None
        if not self._waiting or self.is_lost:
            return
        left = self._waiting[0][1] + self._timeout - self._loop.time()
        if left <= 0:
            self._lose(RedisTimeoutError, f"no answer from Redis for {self._timeout:.1f} s")
        else:
            self._clock = self._loop.call_later(left, self._look_at_the_clock)

    def _lose(self, kind: type[RedisError], why: str) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self._transport.abort()
        if self._clock is not None:
            self._clock.cancel()
        for answer, _ in self._waiting:
            if not answer.done():
                answer.set_exception(kind(why))
        self._waiting.clear()
        self._on_lost()


class Detour:
    """Stands in for a `Wire` where there is none to be had: commands go through the client."""

    is_lost = False

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def send(self, *words: Word) -> Awaitable[Any]:
        """As `Wire.send`, at the usual price."""
        answer: Awaitable[Any] = self._redis.execute_command(*words)  # type: ignore[no-untyped-call]
        return answer

    def close(self) -> None:
        """Nothing: the client is not ours."""


async def open_wire(
    redis: RedisClient,
    on_lost: Callable[[], None],
    on_message: Callable[[Any], None] | None = None,
) -> Wire | Detour:
    """Connect as `redis` would; its `socket_timeout` (or else ours) bounds every answer.

    Returns:
        A `Detour` if there is no network behind `redis` (fakeredis).

    Raises:
        RedisError, OSError: It is away.
    """
    connection = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    connection.protocol = 2  # messages as we know them
    try:
        await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    writer = connection._writer  # noqa: SLF001 - no public way
    if not isinstance(writer, asyncio.StreamWriter):
        await connection.disconnect(nowait=True)
        return Detour(redis)
    _forget(connection)
    return Wire(writer, connection.socket_timeout or SOCKET_TIMEOUT, on_lost, on_message)


def _forget(connection: AbstractConnection) -> None:
    """So that it does not close what is ours now."""
    connection._reader = connection._writer = None  # noqa: SLF001
