"""What this process may do in Redis, tried when it starts.

Each command that a worker needs is tried on each key and channel that it needs, on nobody's entries
and without effect. So a missing right is said at the start, together with the line that mends it,
and not met in the middle of a batch. Who only enqueues needs less and is not asked.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from redis.exceptions import NoPermissionError

from uow.broker.needs import ArqNeeds, Command, Trials, needed, needed_by_arq, optional
from uow.broker.redis import AWAY, RedisClient
from uow.broker.refusals import is_refusal
from uow.broker.wire import Detour, open_wire
from uow.errors import SettingsError

_COMMAND = re.compile(r"run the '([^']+)' command")


@dataclass(frozen=True, slots=True)
class Said:
    """What the settings are called that are to blame, in the words of who has written them."""

    redis: str
    queue: str


_OUR_SETTINGS = Said("WORKER_REDIS_URL", "WORKER_QUEUE")
_ARQ_SETTINGS = Said("redis_settings", "queue_name")


async def check_access(redis: RedisClient, queues: Iterable[str]) -> str | None:
    """Return when a worker can serve `queues`; while Redis is away, at once.

    Returns:
        What it has to do without: a sentence for the log. None: nothing.

    Raises:
        SettingsError: Redis refuses something that a worker needs; with what mends it.
    """
    probe, queues = _probe(), list(queues)
    must, may = needed(queues, probe), optional(probe)
    refused = await _refused(redis, [*must, *may], _OUR_SETTINGS)
    _refuse_what_is_needed(redis, refused, must, may, queues, _OUR_SETTINGS)
    if not (rights := _rights(refused, may)):
        return None
    return (
        f"Redis does not let its user {_user(redis)} do what a worker can go on without, be it "
        f"slower (hints, INFO): {_acl_line(redis, rights)}"
    )


async def check_arq_access(redis: RedisClient, needs: ArqNeeds) -> None:
    """Return when a worker of anybody's arq functions can do its work; while Redis is away, at
    once.

    Raises:
        SettingsError: Redis refuses something that it needs; with what mends it.
    """
    must = needed_by_arq(needs, _probe())
    refused = await _refused(redis, [*must], _ARQ_SETTINGS)
    _refuse_what_is_needed(redis, refused, must, {}, [*needs.queues], _ARQ_SETTINGS)


def _probe() -> str:
    """The id of nobody's job."""
    return f"access:{uuid4().hex}"


def _refuse_what_is_needed(
    redis: RedisClient,
    refused: Mapping[Command, BaseException],
    must: Trials,
    may: Trials,
    queues: list[str],
    said: Said,
) -> None:
    _refuse_other_keys(refused, queues, said)
    if any(isinstance(refused.get(command), NoPermissionError) for command in must):
        line = _acl_line(redis, _rights(refused, must | may))
        raise SettingsError(
            f"{said.redis}: Redis does not let its user {_user(redis)} do what a worker needs: "
            f"{line}"
        )


def _user(redis: RedisClient) -> str:
    return redis.connection_pool.connection_kwargs.get("username") or "default"


def _acl_line(redis: RedisClient, rights: Iterable[str]) -> str:
    return f"ACL SETUSER {_user(redis)} {' '.join(rights)}"


async def _refused(
    redis: RedisClient, trials: list[Command], settings: Said
) -> dict[Command, BaseException]:
    """What Redis refuses, and what it says."""
    try:
        answers = await _tried(redis, trials)
    except AWAY as error:
        if is_refusal(error):
            raise SettingsError(f"{settings.redis}: Redis refuses us: {error}") from error
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


def _refuse_other_keys(
    refused: Mapping[Command, BaseException], queues: list[str], said: Said
) -> None:
    for command, error in refused.items():
        if isinstance(error, NoPermissionError):
            continue
        if len(command) > 1 and command[1] in queues:
            raise SettingsError(
                f"{said.queue}: what lies at {command[1]!r} in this Redis is no queue ({error}): "
                "take another name, or a database that is the worker's alone"
            )
        if str(error).startswith("unknown command"):
            raise SettingsError(f"{said.redis}: this Redis cannot do what we need: {error}")


def _ignore() -> None: ...
