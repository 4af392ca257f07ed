"""A Redis that is not there.

Nothing on a task's way needs Redis to be there, so nothing has to be faked: what would tell it
something finds it away, and goes on. A task function that uses `ctx["redis"]` itself is told.
"""

from typing import Any

from arq.connections import ArqRedis
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisAway

from uow.broker import codec


class _Nowhere(Connection):
    async def connect(self) -> None:
        raise RedisAway(
            'there is no Redis in this test: give the task one, in ctx["redis"] (the fixture '
            "tasks_options), or use the fixture embedded_tasks, which has a real one"
        )


def redis_nowhere() -> ArqRedis:
    """A client that reaches nothing, whatever is asked of it."""
    pool: Any = ConnectionPool(connection_class=_Nowhere)
    redis = ArqRedis(connection_pool=pool)
    redis.job_serializer = codec.serialize
    redis.job_deserializer = codec.deserialize
    return redis
