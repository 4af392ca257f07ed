"""Redis without an event loop, for callers who have none."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any, Self

from redis import Redis
from redis.client import PubSub
from redis.exceptions import NoScriptError

from uow.broker import scripts
from uow.broker.redis import AWAY, SOCKET_TIMEOUT, tls
from uow.broker.refusals import EntriesRefused
from uow.broker.scripts import Job

PATIENCE_SECONDS = 0.5
"""How long somebody who waits for a hint lets a Redis hang."""


def connect(url: str, *, timeout: float = SOCKET_TIMEOUT) -> Redis:
    """A client for `url`; nothing connects before the first call.

    Raises:
        SettingsError: What the URL says about TLS does not fit together, or is not there.
    """
    return Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, **tls(url)
    )  # what the URL says wins


def push(redis: Redis, jobs: Iterable[Job]) -> int:
    """`scripts.push`.

    Raises:
        EntriesRefused, RedisError, OSError: As that.
    """
    pushed = 0
    refused: dict[str, str] = {}
    text, digest = _push_script()
    for queue, said in scripts.batches(jobs, refused):
        arguments: Any = said  # redis-py takes bytes and numbers, too, and does not say so
        try:
            answer: Any = redis.evalsha(digest, 1, queue, *arguments)
        except NoScriptError:
            answer = redis.eval(text, 1, queue, *arguments)
        pushed += scripts.taken(answer, refused)
    if refused:
        raise EntriesRefused(refused, pushed)
    return pushed


@cache
def _push_script() -> tuple[str, str]:
    text = scripts.source("push")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def waiting_for(redis: Redis, channel: str) -> Iterator[Callable[[float], None]]:
    """What waits for so many seconds, or until something is said on `channel`."""
    pubsub = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    try:
        with contextlib.suppress(*AWAY):
            pubsub.subscribe(channel)
        yield partial(_wait, pubsub)
    finally:
        with contextlib.suppress(*AWAY):
            pubsub.close()


def _wait(pubsub: PubSub, seconds: float) -> None:
    until = time.monotonic() + seconds
    try:
        while pubsub.subscribed and (left := until - time.monotonic()) > 0:
            if pubsub.get_message(timeout=left) is not None:  # None also: we are subscribed now
                return
    except AWAY:  # or it lets us have no hints
        pass
    time.sleep(max(until - time.monotonic(), 0))


class Answered:
    """A client whose answers are there at once, for code that awaits them.

    Args:
        client: One without asyncio, or a pipeline of it.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        command = getattr(self._client, name)

        async def answered(*args: Any, **options: Any) -> Any:
            return command(*args, **options)

        return answered

    def pipeline(self, transaction: bool = True) -> "AnsweredPipeline":
        """A pipeline of it."""
        return AnsweredPipeline(self._client.pipeline(transaction))


class AnsweredPipeline:
    """A pipeline whose commands are noted at once, and whose answers are there at once."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipeline.reset()

    async def execute(self) -> list[Any]:
        """Send it."""
        answers: list[Any] = self._pipeline.execute()
        return answers
