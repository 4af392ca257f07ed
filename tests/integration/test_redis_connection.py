"""What a connection to Redis does that is taken down under whoever uses it."""

import asyncio

from redis.exceptions import ConnectionError as RedisConnectionError

from worker.broker.redis import connect
from worker.embedded import EmbeddedRedis


async def test_a_connection_that_is_lost_under_a_writer_says_so(
    redis_server: EmbeddedRedis,
) -> None:
    """redis-py shares a pub/sub connection between reader and writers, and looks only once."""
    client = connect(redis_server.url)
    connection = client.connection_pool.make_connection()
    await connection.connect()
    writing = asyncio.create_task(connection.send_packed_command([b"PING\r\n"]))
    await asyncio.sleep(0)  # it has seen that it is connected
    await connection.disconnect(nowait=True)
    (outcome,) = await asyncio.gather(writing, return_exceptions=True)
    assert outcome is None or isinstance(outcome, RedisConnectionError)
    await client.aclose()


async def test_a_cancellation_that_comes_while_a_command_is_sent_is_not_swallowed(
    redis_server: EmbeddedRedis,
) -> None:
    """As `asyncio.wait_for` does before Python 3.12, at any of these moments."""
    client = connect(redis_server.url)
    for steps in range(12):
        sending = asyncio.create_task(client.ping())
        for _ in range(steps):
            await asyncio.sleep(0)
        if not sending.done():
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled(), steps
    await client.aclose()
