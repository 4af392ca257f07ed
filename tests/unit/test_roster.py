"""Where processes are found, what `worker check` asks, and a folder that is not ours."""

import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from uow.process import check, roster
from uow.process.check import Asked, question
from uow.process.reception import Reception


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders of the test's own, with short names, as those of sockets have to be."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(roster, "FOLDERS", (str(place / "first"), str(place / "second")))
    (place / "first").mkdir()
    (place / "second").mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(place)
        yield place
    shutil.rmtree(place)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    made, entry = roster.listen("billing")
    yield made
    made.close()
    entry.remove()


def ours(folder: Path) -> Path:
    return folder / f"uow-worker-{os.getuid()}"


def test_a_process_that_listens_is_found(listener: socket.socket, place: Path) -> None:
    (found,) = roster.entries()
    assert (found.pid, found.app) == (os.getpid(), roster.checksum("billing"))
    assert Path(found.path).parent == ours(place / "first")
    assert list(roster.entries(os.getpid())) == [found]
    assert list(roster.entries(1)) == []
    assert ours(place / "first").stat().st_mode & 0o777 == 0o700


def test_a_process_may_be_there_twice(listener: socket.socket) -> None:
    second, entry = roster.listen("billing")
    assert len(list(roster.entries())) == 2
    second.close()
    entry.remove()


def test_a_folder_that_others_may_write_into_is_not_used(place: Path) -> None:
    ours(place / "first").mkdir()
    ours(place / "first").chmod(0o777)
    made, entry = roster.listen("billing")
    assert Path(entry.path).parent == ours(place / "second")
    made.close()
    (ours(place / "first") / "12-00000000-0.sock").touch()
    assert list(roster.entries()) == [entry], "and nobody is believed to be in it"


def test_a_link_to_a_folder_of_ours_is_not_used(place: Path) -> None:
    (place / "elsewhere").mkdir(mode=0o700)
    ours(place / "first").symlink_to(place / "elsewhere")
    made, entry = roster.listen("billing")
    assert Path(entry.path).parent == ours(place / "second")
    made.close()


def test_a_process_for_which_there_is_no_place_says_so_and_works(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(roster, "FOLDERS", (str(place / "nowhere"),))
    reception = Reception("billing", {})
    reception.open()
    reception.close()
    assert "`worker check` does not find this process" in caplog.text


def test_a_reception_can_be_opened_again_and_leaves_nothing(place: Path) -> None:
    reception = Reception("billing", {})
    before = {*threading.enumerate()}
    for _ in range(2):
        reception.open()
        reception.open()
        assert len(list(roster.entries())) == 1
        reception.close()
        reception.close()
        assert list(ours(place / "first").iterdir()) == []
    left = {*threading.enumerate()} - before
    assert "uow.process.reception" not in {thread.name for thread in left}


def test_what_nobody_listens_on_is_removed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = roster.listen("billing")
    made.close()
    assert check.check(Asked()) == 1
    assert "there is no worker process of yours on this host" in capsys.readouterr().err
    assert list(ours(place / "first").iterdir()) == []


def test_who_listens_and_says_nothing_is_unwell(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "ANSWER_SECONDS", 0.1)
    assert check.check(Asked(as_json=True)) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["state"] == "silent"
    assert check.check(Asked(app="another")) == 1
    assert "no worker process with WORKER_APP=another" in capsys.readouterr().err


def test_a_supervisor_alone_does_not_serve_the_queue_that_is_asked_after(
    listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {
        "kind": "supervisor", "pid": os.getpid(), "app": "billing", "queues": [],
        "state": "serving", "seconds": 1.0, "unwell": None, "unready": None,
    }  # fmt: skip

    def speak() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(told).encode())

    speaking = threading.Thread(target=speak)
    speaking.start()
    assert check.check(Asked()) == 0
    assert check.check(Asked(queue="mail")) == 1
    assert "no worker process with queue mail" in capsys.readouterr().err
    speaking.join()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 500 no\r\n\r\nno", b"\r\n\r\n{", b"\r\n\r\n[1]"]
)
def test_who_says_something_else_is_unwell(
    listener: socket.socket, answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    speaking = threading.Thread(target=speak)
    speaking.start()
    assert check.check(Asked()) == 1
    assert f"pid {os.getpid()} is unwell" in capsys.readouterr().out
    speaking.join()


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ("", Asked()),
        ("12 13", Asked(pids=(12, 13))),
        ("--queue mail --json", Asked(queue="mail", as_json=True)),
        ("--queue=mail 12", Asked(pids=(12,), queue="mail")),
        ("--help", None),
        ("--quue mail", None),
        ("--queue", None),
        ("twelve", None),
        ("-1", None),
    ],
)
def test_what_is_asked_in_few_words_needs_no_library_for_command_lines(
    arguments: str, asked: Asked | None
) -> None:
    assert question(arguments.split()) == asked


@pytest.mark.parametrize(
    ("file", "app"),
    [
        ("WORKER_APP=billing\n", "billing"),
        ("# WORKER_APP=no\nexport WORKER_APP = 'mail'\nWORKER_APPLICATION=x:y\n", "mail"),
        ("WORKER_APP=shop # ours\n", "shop"),
        ("WORKER_APP='shop'   # ours\nWORKER_QUEUE=a\n", "shop"),
        ("WORKER_APP=shop#1\n", None),
        ("WORKER_APP=\n", None),
        ("WORKER_APP=two words\n", None),
        ("\xff", None),
    ],
)
def test_the_app_is_that_of_the_environment_or_the_env_file(
    place: Path, file: str, app: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / ".env").write_bytes(file.encode("latin-1"))
    assert check.app_of_environment() == app
    monkeypatch.setenv("WORKER_APP", "other")
    assert check.app_of_environment() == "other"
    monkeypatch.setenv("WORKER_APP", "")
    assert check.app_of_environment() is None
