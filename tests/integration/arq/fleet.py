"""Settings classes, as arq's users write them."""

from typing import Any

from arq.connections import RedisSettings
from arq.cron import cron
from arq.worker import func

from uow.broker import codec


async def double(ctx: dict[Any, Any], number: int) -> int:
    return number * 2


async def tick(ctx: dict[Any, Any]) -> None:
    pass


async def startup(ctx: dict[Any, Any]) -> None:
    ctx["started"] = True


class WorkerSettings:
    functions = (func(double, name="double"),)
    cron_jobs = (cron(tick, hour=4),)
    on_startup = startup
    max_jobs = 7
    job_timeout = 60
    redis_settings = RedisSettings(host="example.invalid")
    _ours = "ignored"


class Inherited(WorkerSettings):
    max_jobs = 3
    queue_name = "inherited"
    job_serializer = codec.serialize
    job_deserializer = codec.deserialize


class WithStatic:
    functions = (double,)
    job_serializer = codec.serialize
    job_deserializer = codec.deserialize

    @staticmethod
    async def on_shutdown(ctx: dict[Any, Any]) -> None:
        ctx["stopped"] = True

    @classmethod
    async def on_startup(cls, ctx: dict[Any, Any]) -> None:
        ctx["started by"] = cls.__name__

    @classmethod
    def helper(cls) -> str:
        return "the class's own business"


class Misspelt(Inherited):
    max_job = 3


class OtherWords(Inherited):
    job_results_ttl = 60
    max_retries = 3


class Unknown(Inherited):
    REDIS_URL = "redis://:secret@localhost"
    greeting = "hello"


class MisspeltHook:
    functions = (double,)
    job_serializer = codec.serialize
    job_deserializer = codec.deserialize

    async def on_start_up(self, ctx: dict[Any, Any]) -> None: ...


class WithCode(Inherited):
    """What people keep in such a class beside its settings."""

    import json
    from functools import partial

    async def startup(self) -> None:
        self["started"] = True  # type: ignore[index]  # it is the context

    on_startup = startup

    class Config:
        env_prefix = "APP_"

    def retry_job(self) -> None: ...

    max_retry = partial(retry_job, None)  # type: ignore[arg-type]
    keep_results = property(retry_job)


an_instance = WithCode()
an_instance.max_jobs = 4


class HalfJson(WorkerSettings):
    job_serializer = codec.serialize


class WithQueues(Inherited):
    queues = {"high": 3.0, "low": 1.0}  # noqa: RUF012 - as users write it
    lease_seconds = 2.0


as_dict = {
    "functions": [double], "max_jobs": 2,
    "job_serializer": codec.serialize, "job_deserializer": codec.deserialize,
}  # fmt: skip

not_settings = 7
