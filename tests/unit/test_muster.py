"""What a supervisor answers when one of its processes ends in the middle of an answer."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from uow.process import roster
from uow.process.exposition import METRICS
from uow.process.health import LIVE, READY
from uow.process.http_server import HttpRequest
from uow.process.muster import Muster, Post, answering
from uow.process.reception import Ports
from uow.process.roster import Entry

WHOLE = b"# TYPE worker_slots gauge\nworker_slots 1.0\n"


@pytest.fixture
def place() -> Iterator[Path]:
    """With a short name, as those of sockets have to be."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nworker_slots{sta"],
)
async def test_a_process_that_ends_in_the_middle_spoils_nobody_elses_answer(
    said: bytes, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: x\r\nContent-Length: {len(WHOLE)}\r\nA: b\r\n\r\n"
        writer.write(head.encode() + WHOLE)
        writer.close()

    paths = {1: str(place / "a"), 2: str(place / "b")}

    def entries(pid: int | None = None) -> Iterator[Entry]:
        return iter([Entry(paths[pid or 1], pid or 1, "")])

    monkeypatch.setattr(roster, "entries", entries)
    muster = Muster("billing", lambda: [Post(0, 1), Post(1, 2)], lambda: False)
    async with (
        await asyncio.start_unix_server(end, paths[1]),
        await asyncio.start_unix_server(tell, paths[2]),
    ):
        live = await muster.routes[LIVE](HttpRequest(LIVE, "", {}))
        metrics = await muster.routes[METRICS](HttpRequest(METRICS, "", {}))
    assert (live.status, live.body) == (503, b"process 0 (pid 1): no answer\n")
    assert metrics.body == b'# TYPE worker_slots gauge\nworker_slots{process="1"} 1.0\n'


async def test_a_socket_that_a_dead_process_of_the_same_id_has_left_hides_no_living_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: x\r\nContent-Length: 3\r\n\r\nok\n")
        writer.close()

    left, living = str(place / "a"), str(place / "b")
    Path(left).touch()  # nobody listens
    both = [Entry(left, 1, "other"), Entry(living, 1, "")]
    monkeypatch.setattr(roster, "entries", lambda _: iter(both))
    muster = Muster("billing", lambda: [Post(0, 1)], lambda: False)
    async with await asyncio.start_unix_server(tell, living):
        live = await muster.routes[LIVE](HttpRequest(LIVE, "", {}))
    assert (live.status, live.body) == (200, b"ok\n")


@pytest.mark.parametrize(
    ("age", "live", "said"),
    [(1.0, 200, "it is starting"), (301.0, 503, "it has not begun to answer within 300 s")],
)
async def test_a_process_that_never_begins_to_answer_is_not_starting_for_ever(
    age: float, live: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "entries", lambda _: iter(()))
    muster = Muster("billing", lambda: [Post(0, 1, "", age)], lambda: False)
    assert (await muster.routes[LIVE](HttpRequest(LIVE, "", {}))).status == live
    ready = await muster.routes[READY](HttpRequest(READY, "", {}))
    assert (ready.status, ready.body.decode()) == (503, f"process 0 (pid 1): {said}\n")


async def test_where_no_socket_can_be_made_nobody_is_taken_for_dead_nor_for_ready(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = str(place / "nowhere")
    monkeypatch.setattr(roster, "FOLDERS", (nowhere,))
    muster = Muster("billing", lambda: [Post(0, 1, "", 301.0)], lambda: False)
    async with answering(muster, Ports()):
        assert (await muster.routes[LIVE](HttpRequest(LIVE, "", {}))).status == 200
        ready = await muster.routes[READY](HttpRequest(READY, "", {}))
    said = f"process 0 (pid 1): nobody can ask it: no socket in {nowhere}\n"
    assert (ready.status, ready.body.decode()) == (503, said)
