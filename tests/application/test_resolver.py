"""Looking up names that others have chosen."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from worker.tasks.resolver import Resolver

SLOW = "slow.test"

NOBODY_ANSWERS = """
import asyncio, socket, threading
from worker.tasks.resolver import Resolver
socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
try:
    asyncio.run(Resolver(seconds=0.01).addresses_of("slow.test", 80))
except TimeoutError as error:
    print(error)
"""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, the name server of `SLOW` does not answer."""
    answered = threading.Event()

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        if host == SLOW:
            answered.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield answered
    answered.set()


async def test_a_look_up_has_a_time_limit_and_so_has_the_wait_for_a_free_thread(
    answer: threading.Event,
) -> None:
    resolver = Resolver(threads=1, seconds=0.05)
    for host in (SLOW, "quick.test"):
        with pytest.raises(TimeoutError, match=f"{host} was not looked up within 0.05 s"):
            await resolver.addresses_of(host, 80)


async def test_a_thread_is_free_again_when_its_answer_has_come(answer: threading.Event) -> None:
    resolver = Resolver(threads=1, seconds=0.05)
    with pytest.raises(TimeoutError):
        await resolver.addresses_of(SLOW, 80)
    answer.set()
    resolver._seconds = 20
    assert await resolver.addresses_of("quick.test", 80) == ["192.0.2.1"]


async def test_slow_look_ups_hold_up_nothing_but_look_ups(answer: threading.Event) -> None:
    resolver = Resolver(seconds=20)
    slow = [asyncio.create_task(resolver.addresses_of(SLOW, 80)) for _ in range(40)]
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(threading.active_count) > 1
    answer.set()
    assert await asyncio.gather(*slow) == [["192.0.2.1"]] * 40


def test_a_look_up_without_an_answer_does_not_hold_up_the_end_of_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NOBODY_ANSWERS], timeout=30, check=True, capture_output=True
    )
    assert ended.stdout.decode().strip() == "slow.test was not looked up within 0.01 s"
