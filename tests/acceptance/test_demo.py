"""`worker demo`, as a newcomer types it: what it prints, and that the check holds under chaos."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes import ROOT

ROWS = 60


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary directory that whoever runs the servers can reach; short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def users(place: Path) -> Path:
    """A file of users, one of whom has no address."""
    file = place / "mine.csv"
    rows = [f"user{n},user{n}@example.org" for n in range(ROWS)]
    file.write_text("\n".join(["username,email", *rows[:5], "nobody,nowhere", *rows[5:]]) + "\n")
    return file


def start_demo(place: Path, *arguments: str) -> subprocess.Popen[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WORKER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "uow", "demo", *arguments],
        env={**inherited, "TMPDIR": str(place), "COLUMNS": "120"}, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def demo(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with start_demo(place, *arguments) as process:
        try:
            stdout, stderr = process.communicate(timeout=140)
        finally:
            process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def figure(name: str, output: str) -> int:
    found = re.search(rf"^{name} +([\d,]+)", output, re.MULTILINE)
    assert found, output
    return int(found[1].replace(",", ""))


def test_the_demo_shows_that_each_row_has_one_user_and_one_welcome(
    users: Path, place: Path
) -> None:
    done = demo(place, f"--users={users}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"✓ each of {ROWS} rows has exactly one user and one welcome" in done.stdout
    assert "line 7: email: " in done.stdout
    assert figure("mails received", done.stdout) == ROWS
    assert "(0 repeated)" in done.stdout
    assert not done.stderr
    assert [file.name for file in place.iterdir()] == ["mine.csv"]  # it leaves nothing behind


def lines_with(beginning: str, said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(beginning)]


def test_what_it_keeps_running_is_reached_as_it_says_and_ends_with_ctrl_c(
    users: Path, place: Path
) -> None:
    with start_demo(place, f"--users={users}", "--keep") as process:
        assert process.stdout is not None
        said = ""
        while "Ctrl-C ends it all" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        (pages,) = re.findall(r"In a browser: (http://127\.0\.0\.1:\d+/ui/)$", said, re.MULTILINE)
        shown = httpx.get(f"{pages}tasks", timeout=20)
        assert (shown.status_code, "users.send_welcome" in shown.text) == (200, True)
        (psql,) = re.findall(r"^\S*psql .*$", said, re.MULTILINE)
        asked = [*shlex.split(psql), "--no-psqlrc", "-Atc", "SELECT count(*) FROM users"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
        assert answer.stdout == f"{ROWS}\n", answer.stderr
        assert {"WORKER_DATABASE_URL", "WORKER_REDIS_URL"} == set(
            re.findall(r"export (\w+)=", said)
        )
        exported = dict(shlex.split(line)[1].split("=", 1) for line in lines_with("export ", said))
        (enqueue,) = lines_with("uv run worker enqueue ", said)
        done = subprocess.run(
            [sys.executable, "-m", "uow", *shlex.split(enqueue)[3:]], cwd=ROOT,
            env={**os.environ, **exported, "WORKER_TASK_MODULES": "json"},  # as a .env may have it
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert [file.name for file in place.iterdir()] == ["mine.csv"]


@pytest.mark.timeout(150)
def test_the_demo_holds_while_workers_and_servers_are_killed(users: Path, place: Path) -> None:
    done = demo(place, f"--users={users}", "--chaos", "--seed=7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 7: " in done.stdout
    assert f"✓ each of {ROWS} rows has exactly one user and one welcome" in done.stdout
    assert figure("workers killed", done.stdout) > 0
    assert figure("Redis wiped", done.stdout) > 0
    assert figure("Postgres restarted", done.stdout) > 0
    assert figure("mails received", done.stdout) >= ROWS
    assert figure("tasks succeeded", done.stdout) > 1 + ROWS  # exports too, until the last fault
    assert not done.stderr
    assert [file.name for file in place.iterdir()] == ["mine.csv"]


def test_a_file_that_is_not_there_is_one_clear_line_and_exit_code_1(place: Path) -> None:
    done = demo(place, f"--users={place / 'none.csv'}")
    assert done.returncode == 1
    assert done.stderr == f"worker: there is no file {place / 'none.csv'}\n"
    assert not done.stdout


def test_a_seed_without_chaos_is_refused(place: Path) -> None:
    done = demo(place, "--seed=7")
    assert done.returncode == 2
    assert "it needs --chaos" in done.stderr
