"""Which commands a worker sends to Redis, on which keys: each on nobody's entries, without effect.

`uow.broker.access` tries them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arq.constants import abort_jobs_ss, health_check_key_suffix

from uow.broker import keys
from uow.broker.wire import Word

Command = tuple[Word, ...]

Trials = dict[Command, str]
"""Commands, each with the right to its key or channel."""

_KEYS, _OURS, _CHANNELS = "~arq:*", "~worker:*", "&worker:*"


@dataclass(frozen=True, slots=True)
class ArqNeeds:
    """What a worker of anybody's arq functions uses of Redis.

    Attributes:
        health_key: Where it records its health.
        aborts: Whether jobs may be aborted.
        cron: Whether it has cron jobs.
    """

    queues: Sequence[str]
    health_key: str
    aborts: bool = False
    cron: bool = False


def _right_to(key: str) -> str:
    return _KEYS if key.startswith("arq:") else f"~{key}"


def needed(queues: list[str], probe: str) -> Trials:
    """What a worker of our tasks does in Redis."""
    trials: Trials = {("TIME",): "", ("PING",): ""}
    for queue in queues:
        right = _right_to(queue)
        trials |= dict.fromkeys(_on_queue(queue, probe), right)
        trials[("ZREM", queue + health_check_key_suffix, probe)] = (
            right if right == _KEYS else right + health_check_key_suffix
        )
    trials |= dict.fromkeys(_on_jobs(probe), _KEYS)
    trials |= dict.fromkeys(_on_ours(keys.pulse(probe)), _OURS)
    trials |= dict.fromkeys(_on_owner(keys.owner(probe)), _OURS)
    return trials


def needed_by_arq(needs: ArqNeeds, probe: str) -> Trials:
    """The commands of ``claim.lua``, ``extend.lua``, ``finish.lua``, ``retake.lua``, ``tick.lua``,
    and those with which arq's own features go to Redis."""
    trials: Trials = {("TIME",): "", ("PING",): ""}
    for queue in needs.queues:
        trials |= dict.fromkeys(_on_arq_queue(queue, probe), _right_to(queue))
    trials[("ZREM", needs.health_key, probe)] = _right_to(needs.health_key)
    trials |= dict.fromkeys(_on_arq_jobs(probe), _KEYS)
    if needs.aborts:
        trials |= dict.fromkeys(_on_aborts(probe), _KEYS)
    if needs.cron:
        trials |= dict.fromkeys(_on_cron(probe), _KEYS)
        trials |= dict.fromkeys(_on_guards(keys.ticked(probe)), _OURS)
    return trials


def optional(probe: str) -> Trials:
    """What it can do without."""
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


def _on_arq_queue(queue: str, probe: str) -> Iterator[Command]:
    yield "ZADD", queue, "XX", 1, probe
    yield "ZREM", queue, probe
    yield "ZSCORE", queue, probe
    yield "ZCARD", queue
    yield "ZRANGEBYSCORE", queue, 1, 0


def _on_arq_jobs(probe: str) -> Iterator[Command]:
    lease, starts = keys.in_progress(probe), keys.retries(probe)
    yield "INCR", starts
    yield "DECR", starts
    yield "EXPIRE", starts, 1
    for name in (keys.job, keys.in_progress, keys.retries, keys.result):
        key = name(probe)
        yield "SET", key, "", "XX", "PX", 1
        yield "MGET", key
        yield "DEL", key
    yield "GET", lease
    yield "PEXPIRE", lease, 1
    yield "PSETEX", lease, 1, ""
    yield from _scripts()


def _on_aborts(probe: str) -> Iterator[Command]:
    yield "ZREM", abort_jobs_ss, probe
    yield "ZMSCORE", abort_jobs_ss, probe
    yield "ZRANGE", abort_jobs_ss, 1, 0
    yield "ZREMRANGEBYSCORE", abort_jobs_ss, 1, 0


def _on_cron(probe: str) -> Iterator[Command]:
    yield "EXISTS", keys.job(probe)
    yield "WATCH", keys.job(probe)
    yield ("UNWATCH",)
    yield ("MULTI",)
    yield ("EXEC",)


def _on_guards(key: str) -> Iterator[Command]:
    yield "SET", key, "", "XX", "PX", 1
    yield "GET", key
    yield "PEXPIRE", key, 1
    yield "DEL", key


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
    yield from _scripts()
    yield "WATCH", key
    yield ("UNWATCH",)
    yield ("MULTI",)
    yield ("EXEC",)


def _on_owner(key: str) -> Iterator[Command]:
    yield "SET", key, "", "XX", "PX", 1
    yield "GET", key


def _scripts() -> Iterator[Command]:
    yield "EVAL", "return 1", 0
    yield "EVALSHA", "0" * 40, 0
    yield "SCRIPT", "LOAD", "return 1"
