"""The connection that stock arq works on: one that outlasts an outage of Redis.

arq's worker ends with the first error in its own loop. So its client waits, command by command,
until Redis answers again; a claim that was under way counts as lost to somebody else, which is what
arq makes of a `WatchError`. What Redis refuses for good is not waited for: it ends the worker. Once
the process is stopping there is nothing to wait for either: what cannot be said is left unsaid, and
leases run out by themselves.

It also shows arq a queue in which everything that is due can be run: arq looks at the front alone,
runs nothing that has the score 0, and dies of one at minus infinity or of a payload that is none.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from arq.connections import ArqRedis
from arq.constants import (
    abort_jobs_ss,
    in_progress_key_prefix,
    job_key_prefix,
    retry_key_prefix,
)
from redis.asyncio.client import Pipeline
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    NoPermissionError,
    RedisError,
    ResponseError,
    WatchError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from uow import exhaustion
from uow.broker.refusals import is_refusal
from uow.telemetry.description import one_line

T = TypeVar("T")

logger = logging.getLogger(__name__)

PAUSES = (0.05, 0.5)
"""Seconds between two tries, first and at most: a Redis that is back is noticed within half one."""

_HELD_BY_ANOTHER = 1
"""What arq reads when the job's lease is there."""

PAGES = 10
"""How many pages of a queue one look goes through if others hold all that is there."""

_FIRST = -(2.0**53)
_NOT_ZERO = 1.0
"""Scores that arq runs, in place of those that it does not."""

_ABOUT_THE_SERVER = frozenset({"INFO", "DBSIZE"})
"""What arq logs when it starts; clients are often forbidden to ask."""


class PatientRedis(ArqRedis):
    """arq's client, which waits while Redis is away.

    Attributes:
        claiming: Whether arq may see what is due; off while Postgres does not answer.
        occupied: Whether a task that is to be alone keeps arq from seeing it, too.
        room: Says how many jobs arq may see at once; None: as many as it asks for.
        stopping: Set when the process stops; then nothing is waited for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.claiming = True
        self.occupied: Callable[[], bool] = _never
        self.room: Callable[[], int | None] = _any_number
        self.stopping = False
        self._rank = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command as soon as Redis answers; None if it cannot any more."""
        call: Callable[..., Awaitable[Any]] = super().execute_command
        return await self.until_answered(lambda: call(*args, **options))

    async def zrangebyscore(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """What arq asks for to see what is due; of its queue, and with a limit."""
        if name != self.default_queue_name or not kwargs.get("num"):
            return await super().zrangebyscore(name, *args, **kwargs)
        if not self.claiming or self.stopping or self.occupied() or exhaustion.here.lasts():
            return []
        limit = kwargs["num"]
        for _ in range(PAGES):
            page = {**kwargs, "start": self._rank}
            found = await super().zrangebyscore(name, *args, **page) or []
            self._rank = 0 if len(found) < limit else self._rank + limit
            if not self._rank or (found := await self._unheld(found)):
                break
        return [entry for entry in found if _is_text(entry)][: self.room()]

    async def _unheld(self, job_ids: list[bytes]) -> list[bytes]:
        """Those that nobody holds; if there are any, the next look begins at the front again."""
        prefix = in_progress_key_prefix.encode()
        leases = await self.mget([prefix + job_id for job_id in job_ids]) or []
        free = [id_ for id_, lease in zip(job_ids, leases, strict=False) if lease is None]
        if free:
            self._rank = 0
        return free

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A pipeline that waits, too."""
        return PatientPipeline(self, transaction, shard_hint)

    async def until_answered(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Repeat `call` while Redis is away."""
        pause, longest = PAUSES
        waited = False
        while True:
            try:
                answer = await call()
            except (RedisError, OSError) as error:
                if not _passes(error):
                    raise
                if self.stopping:
                    logger.warning("Redis is away while we stop: %s", type(error).__name__)
                    return None
                if exhaustion.here.explains(error) is None and not waited:
                    logger.warning("Redis is away, waiting: %s", one_line(error))
                    waited = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
            else:
                if waited:
                    logger.warning("Redis is back")
                return answer


class PatientPipeline(Pipeline):
    """A pipeline of `PatientRedis`."""

    def __init__(self, redis: PatientRedis, transaction: bool, shard_hint: str | None) -> None:
        super().__init__(redis.connection_pool, redis.response_callbacks, transaction, shard_hint)
        self._redis = redis
        self._claims = False

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """WATCH, and what is read under it; a claim that loses its connection has lost."""
        call: Callable[..., Awaitable[Any]] = super().immediate_execute_command
        if args[0] == "WATCH":
            self._claims = str(args[1]).startswith(in_progress_key_prefix)
            return await self._redis.until_answered(lambda: call(*args, **options))
        try:
            answer = await call(*args, **options)
            return _run_at_all(answer) if args[0] == "ZSCORE" and self._claims else answer
        except (RedisError, OSError) as error:
            if not self._claims or is_refusal(error):
                raise
            logger.warning("a claim is given up: %s", one_line(error))
            self.watching = False
            return _HELD_BY_ANOTHER

    async def reset(self) -> None:
        """Give the connection back; what it watched ends with it if Redis does not answer."""
        try:
            await super().reset()  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            if self.connection is not None:
                await self.connection.disconnect(nowait=True)
            self.watching = False
            await super().reset()  # type: ignore[no-untyped-call]

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run what was collected; a claim whose answer is lost counts as another's."""
        call: Callable[..., Awaitable[list[Any]]] = super().execute
        if self.watching:
            try:
                return await call(raise_on_error)
            except (RedisError, OSError) as error:
                if not self._claims or is_refusal(error):
                    raise  # somebody else's transaction is not ours to judge
                raise WatchError(f"the claim's answer was lost ({error})") from error
        commands, transaction = list(self.command_stack), self.explicit_transaction

        async def once_more() -> list[Any]:
            self.command_stack, self.explicit_transaction = list(commands), transaction
            said = zip(commands, await call(False), strict=True)
            answers = [_as_arq_reads(command, answer) for (command, _), answer in said]
            if raise_on_error:
                self.raise_first_error(commands, answers)
            return answers

        try:
            answers = await self._redis.until_answered(once_more)
        except NoPermissionError:
            if not all(args[0] in _ABOUT_THE_SERVER for args, _ in commands):
                raise
            return [{}] * len(commands)
        return [None] * len(commands) if answers is None else answers


def _never() -> bool:
    return False


def _any_number() -> None:
    return None


def _passes(error: Exception) -> bool:
    may = isinstance(error, RedisConnectionError | RedisTimeoutError | ResponseError | OSError)
    return may and not is_refusal(error)


def _as_arq_reads(command: Sequence[Any], answer: Any) -> Any:
    """What it makes of keys of its own in whose place somebody has put something else."""
    if not isinstance(answer, ResponseError) or not is_refusal(answer):
        return answer  # an error that passes says nothing about the key
    if isinstance(answer, NoPermissionError):
        return answer
    match command:
        case ("GET", str(key)) if key.startswith(job_key_prefix):
            return None  # there is no payload
        case ("INCRBY", str(key), *_) if key.startswith(retry_key_prefix):
            return 1  # it was not started before
        case ("ZREM", str(key), *_) if key == abort_jobs_ss:
            return 0  # nobody wants it aborted
        case _:
            return answer


def _run_at_all(score: float | None) -> float | None:
    return None if score is None else max(score, _FIRST) or _NOT_ZERO


def _is_text(entry: bytes) -> bool:
    try:
        entry.decode()
    except UnicodeDecodeError:
        logger.warning("the queue has an entry that is no job id: %r", entry)
        return False
    return True
