"""What a fork shares with its parent under each event loop: nothing that the loop waits for."""

import os
import subprocess
import sys

import pytest

PARENT = """
import asyncio, os, signal, socket, sys
import uvloop
from uow.process import forks

async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)

async def main():
    server = await asyncio.start_unix_server(echo, "socket")
    reader, writer = await asyncio.open_unix_connection("socket")
    number = writer.get_extra_info("socket").fileno()
    heard = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.append, "heard")
    forks.keep_from(asyncio.get_running_loop())
    before, child = socket.socketpair()
    if (pid := os.fork()) == 0:
        try:
            try:
                socket.socket(fileno=number).send(b"from the child\\n")
            except BrokenPipeError:
                child.send(b"dead")
            signal.raise_signal(signal.SIGTERM)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM, status
    assert before.recv(10) == b"dead"
    writer.write(b"from the parent\\n")
    assert await reader.readline() == b"from the parent\\n"
    assert heard == []
    os.kill(os.getpid(), signal.SIGTERM)
    while not heard:
        await asyncio.sleep(0)
    writer.close()
    server.close()
    print("fine")

loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[sys.argv[1]]()
loop.run_until_complete(main())
"""


OF_AN_APPLICATION = """
import asyncio, os, signal, socket, sys
import uvloop
from uow.process import forks

def in_a_fork(look):
    if (pid := os.fork()) == 0:
        os._exit(0 if look() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def listens(listener):
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

async def main():
    signal.signal(signal.SIGTERM, mine := lambda *_: None)
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.start_server(lambda *_: None, sock=listener)
    for _ in range(2):
        forks.keep_from(loop, signals=False)
    assert in_a_fork(lambda: signal.getsignal(signal.SIGTERM) is mine)
    assert in_a_fork(lambda: listens(socket.socket(fileno=listener.fileno())))
    peer = socket.create_connection(listener.getsockname())
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    number = writer.get_extra_info("socket").fileno()
    has_died = lambda: not socket.socket(fileno=number).getpeername()
    forks.release(loop)
    assert in_a_fork(has_died), "another worker is still there"
    forks.release(loop)
    assert not in_a_fork(has_died)
    forks.keep_from(loop, signals=False, listens=True)
    assert in_a_fork(lambda: not listens(socket.socket(fileno=listener.fileno())))
    print("fine")
    for one in (server, writer, peer):
        one.close()

loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[sys.argv[1]]()
loop.run_until_complete(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells what a loop waits for")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_fork_of_an_application_keeps_its_handlers_and_what_it_listens_on(loop: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OF_AN_APPLICATION, loop],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells what a loop waits for")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_fork_takes_its_own_signals_and_has_dead_connections(
    loop: str, tmp_path: os.PathLike[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, loop],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=30,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr
