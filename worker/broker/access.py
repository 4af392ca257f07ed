"""What this process may do in Redis, tried when it starts.

Each command that a worker needs is tried on each key and channel that it needs, on nobody's entries
and without effect. So a missing right is said at the start, together with the line that mends it,
and not met in the middle of a batch. Who only enqueues needs less and is not asked.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from arq.constants import abort_jobs_ss, health_check_key_suffix
from redis.exceptions import NoPermissionError

from worker.broker import keys
from worker.broker.redis import AWAY, RedisClient
from worker.broker.refusals import is_refusal
from worker.broker.wire import Detour, Word, open_wire
from worker.errors import SettingsError

Command = tuple[Word, ...]

Trials = dict[Command, str]
"""Commands, each with the right to its key or channel."""

_KEYS, _OURS, _CHANNELS = "~arq:*", "~worker:*", "&worker:*"

_COMMAND = re.compile(r"run the '([^']+)' command")


async def check_access(redis: RedisClient, queues: Iterable[str]) -> str | None:
    """Return when a worker can serve `queues`; while Redis is away, at once.

    Returns:
        What it has to do without: a sentence for the log. None: nothing.

    Raises:
        SettingsError: Redis refuses something that a worker needs; with what mends it.
    """
    probe, queues = f"access:{uuid4().hex}", list(queues)
    needed, optional = _needed(queues, probe), _optional(probe)
    refused = await _refused(redis, [*needed, *optional])
    _refuse_other_keys(refused, queues)
    rights = _rights(refused, {**needed, **optional})
    if not rights:
        return None
    user = redis.connection_pool.connection_kwargs.get("username") or "default"
    line = f"ACL SETUSER {user} {' '.join(rights)}"
    if any(isinstance(refused.get(command), NoPermissionError) for command in needed):
        raise SettingsError(
            f"WORKER_REDIS_URL: Redis does not let its user {user} do what a worker needs: {line}"
        )
    return (
        f"Redis does not let its user {user} do what a worker can go on without, be it slower "
        f"(hints, INFO): {line}"
    )


async def _refused(redis: RedisClient, trials: list[Command]) -> dict[Command, BaseException]:
    """What Redis refuses, and what it says."""
    try:
        answers = await _tried(redis, trials)
    except AWAY as error:
        if is_refusal(error):
            raise SettingsError(f"WORKER_REDIS_URL: Redis refuses us: {error}") from error
        return {}
    said = zip(trials, answers, strict=False)
    return {
        command: answer
        for command, answer in said
        if isinstance(answer, BaseException) and is_refusal(answer)
    }


async def _tried(redis: RedisClient, trials: list[Command]) -> list[Any]:
    """The answers, on a connection of its own; none if there is no network behind `redis`."""
    wire = await open_wire(redis, _ignore)
    if isinstance(wire, Detour):
        return []
    try:
        sent = [wire.send(*command) for command in trials]
        return await asyncio.gather(*sent, return_exceptions=True)
    finally:
        wire.close()


def _rights(refused: Mapping[Command, BaseException], trials: Trials) -> list[str]:
    """What is missing, in the words of ACL SETUSER."""
    rights: dict[str, None] = {}
    for command, error in refused.items():
        if isinstance(error, NoPermissionError):
            named = _COMMAND.search(str(error))
            rights[f"+{named[1]}" if named else trials[command]] = None
    return list(rights)


def _refuse_other_keys(refused: Mapping[Command, BaseException], queues: list[str]) -> None:
    for command, error in refused.items():
        if isinstance(error, NoPermissionError):
            continue
        if len(command) > 1 and command[1] in queues:
            raise SettingsError(
                f"WORKER_QUEUE: what lies at {command[1]!r} in this Redis is no queue ({error}): "
                "take another name, or a database that is the worker's alone"
            )
        if str(error).startswith("unknown command"):
            raise SettingsError(f"WORKER_REDIS_URL: this Redis cannot do what we need: {error}")


def _needed(queues: list[str], probe: str) -> Trials:
    trials: Trials = {("TIME",): "", ("PING",): ""}
    for queue in queues:
        right = _KEYS if queue.startswith("arq:") else f"~{queue}"
        trials |= dict.fromkeys(_on_queue(queue, probe), right)
        trials[("ZREM", queue + health_check_key_suffix, probe)] = (
            right if right == _KEYS else right + health_check_key_suffix
        )
    trials |= dict.fromkeys(_on_jobs(probe), _KEYS)
    trials |= dict.fromkeys(_on_ours(keys.pulse(probe)), _OURS)
    trials |= dict.fromkeys(_on_owner(keys.owner(probe)), _OURS)
    return trials


def _optional(probe: str) -> Trials:
    told = dict.fromkeys((keys.settled_channel(probe), keys.CANCEL_CHANNEL), _CHANNELS)
    return {("INFO", "server"): "", **{("PUBLISH", on, probe): right for on, right in told.items()}}


def _on_queue(queue: str, probe: str) -> Iterator[Command]:
    yield "ZADD", queue, "XX", 1, probe
    yield "ZREM", queue, probe
    yield "ZSCORE", queue, probe
    yield "ZMSCORE", queue, probe
    yield "ZCARD", queue
    yield "ZCOUNT", queue, 1, 0
    yield "ZRANGE", queue, 1, 0
    yield "ZRANGEBYSCORE", queue, 1, 0


def _on_jobs(probe: str) -> Iterator[Command]:
    job, lease, starts = keys.job(probe), keys.in_progress(probe), keys.retries(probe)
    yield "INCR", starts
    yield "INCRBY", starts, 0
    yield "DECR", starts
    yield "DECRBY", starts, 0
    yield "EXPIRE", starts, 1
    yield "PSETEX", lease, 1, ""
    for name in (keys.job, keys.in_progress, keys.retries, keys.result):
        key = name(probe)
        yield "SET", key, "", "XX", "PX", 1
        yield "MGET", key
        yield "DEL", key
    yield from ((word, job) for word in ("GET", "EXISTS", "TYPE", "PERSIST"))
    yield "GETRANGE", job, 0, 0
    yield "PTTL", lease
    yield "PEXPIRE", lease, 1
    yield "ZREM", abort_jobs_ss, probe
    yield "ZRANGE", abort_jobs_ss, 1, 0
    yield "ZREMRANGEBYSCORE", abort_jobs_ss, 1, 0


def _on_ours(key: str) -> Iterator[Command]:
    yield "SET", key, "", "XX", "GET"
    yield "ZINCRBY", key, 1, ""
    yield "DEL", key
    yield "EVAL", "return 1", 0
    yield "EVALSHA", "0" * 40, 0
    yield "SCRIPT", "LOAD", "return 1"
    yield "WATCH", key
    yield ("UNWATCH",)
    yield ("MULTI",)
    yield ("EXEC",)


def _on_owner(key: str) -> Iterator[Command]:
    yield "SET", key, "", "XX", "PX", 1
    yield "GET", key


def _ignore() -> None: ...
