"""Somebody who does what a page says: writes its files, types its commands, compares the output."""

import asyncio
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.processes import ROOT, LoggedProcess, fork_server, run_logged, run_standing_in
from uow import Database

BLOCK = re.compile(
    r"(?:^`(?P<file>[\w./]+)`:\n\n)?"
    r'^```(?P<kind>python|ini|console|sql)(?: title="(?P<terminal>[^"]+)")?\n'
    r"(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)

SERVES = {
    "python servers.py": "run until Ctrl-C",
    "worker run": "ready: queue",
    "worker api": "startup complete",
    "uvicorn": "startup complete",
}
"""Commands that stay, and what they say when they are there."""

PORTS = ("8000", "8001", "8002", "8003")
"""Those of the pages; each reader has others."""

LOOKS = ("billing.show", "cron list", "worker check", "curl -s localhost")
"""Commands that only look: what they are to see may still be on its way."""

SECONDS = 20


class Ours(NamedTuple):
    """A command line of `worker`."""

    arguments: list[str]
    environment: dict[str, str]


def of_ours(command: str) -> Ours | None:
    """It, to be forked instead of started: that saves each the second of its imports.

    None if a shell has to read it, if it is not ours, or if it starts its own command line again.
    (That the installed command is there and works is what `test_outside_a_clone` shows.)
    """
    if re.search(r"[|&;<>$`\\]", command) or "--processes" in command:
        return None
    words = shlex.split(command)
    at = next((n for n, word in enumerate(words) if "=" not in word), 0)
    if words[at] != "worker":
        return None
    return Ours(words[at + 1 :], dict(word.split("=", 1) for word in words[:at]))


@dataclass
class Reader:
    """Reads pages in one folder.

    Attributes:
        folder: Where files are written and commands are typed.
        environment: The commands'.
        terminals: What stays, by its command.
        rows: What each query in SQL has found.
    """

    folder: Path
    environment: Mapping[str, str]
    terminals: dict[str, LoggedProcess] = field(default_factory=dict)
    rows: list[list[tuple[object, ...]]] = field(default_factory=list)
    ports: dict[str, str] = field(default_factory=lambda: {port: free_port() for port in PORTS})

    def follow(self, page: str) -> None:
        """Do what a page of docs/ says.

        Raises:
            AssertionError: It shows something else.
        """
        text = (ROOT / "docs" / page).read_text()
        for port, mine in self.ports.items():
            text = text.replace(port, mine)
        assert text.count("```python") == len(re.findall(r"^`[\w./]+`:\n\n```python", text, re.M))
        for block in BLOCK.finditer(text):
            if block["file"]:
                self.write(block["file"], block["text"])
            elif block["kind"] == "sql":
                found = asyncio.run(execute(self.environment, block["text"]))
                self.rows += [found] if block["text"].startswith("SELECT") else []
            else:
                self.type(block["text"], stays=block["terminal"] is not None)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def type(self, block: str, *, stays: bool) -> None:
        """Type the commands of a block, one by one; each that stays has a terminal of its own."""
        if stays and "worker run" in block:  # the worker of an earlier block is stopped first
            self._stop("worker run")
        for one in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = one.partition("\n")
            if stays:
                self.start(command)
            else:
                self.run(command, shown)

    def start(self, command: str) -> None:
        """Start what stays, in place of the same that runs."""
        kind = next(kind for kind in SERVES if kind in command)
        self._stop(command)
        self.terminals[command] = self._started(command)
        self.terminals[command].wait_for_log(SERVES[kind])

    def run(self, command: str, shown: str) -> None:
        """Run a command and compare what it shows; … stands for anything."""
        wanted = "(.|\n)*".join(map(re.escape, re.split(r"…\n?", shown)))
        deadline = time.monotonic() + SECONDS
        seen = self._output_of(command)
        while not re.fullmatch(wanted, seen):
            again = time.monotonic() < deadline and any(look in command for look in LOOKS)
            assert again, f"$ {command}\n{seen}\nThe page:\n{shown}\n{self._logs()}"
            seen = self._output_of(command)

    def close(self) -> None:
        """Leave nothing running; the servers last, for they are asked to clean up."""
        for terminal in reversed(self.terminals.values()):
            if terminal.process.poll() is None:
                terminal.process.send_signal(2)
                terminal.wait()
            terminal.kill9()

    def _stop(self, command: str) -> None:
        """Stop each terminal in which that runs, or more than that."""
        for typed in [one for one in self.terminals if command in one]:
            terminal = self.terminals.pop(typed)
            terminal.terminate()
            terminal.kill9()

    def _started(self, command: str) -> LoggedProcess:
        ours = of_ours(command)
        if ours is None:
            words = ["bash", "-c", f"exec env {command}"]
            return run_logged(words, self._environment(), cwd=self.folder)
        given, words = {**self._environment(), **ours.environment}, ours.arguments
        return LoggedProcess(
            lambda out: fork_server.start(words, given, out, out, directory=self.folder)
        )

    def _output_of(self, command: str) -> str:
        if ours := of_ours(command):
            given = {**self._environment(), **ours.environment}
            done = run_standing_in(self.folder, ours.arguments, given)
        else:
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.folder, env=self._environment(), check=False,
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        said = [line for line in done.stderr.splitlines(keepends=True) if not is_log(line)]
        output = done.stdout + "".join(said)
        return output if output.endswith("\n") or not output else f"{output}\n"

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**self.environment, "PATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}

    def _logs(self) -> str:
        return "\n".join(f"--- {name}\n{each.log}" for name, each in self.terminals.items())


async def execute(environment: Mapping[str, str], block: str) -> list[tuple[object, ...]]:
    """Run a block of SQL: one query, or any statements."""
    async with (
        Database(environment["WORKER_DATABASE_URL"]) as db,
        db.engine.connect() as connection,
    ):
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        if block.startswith("SELECT"):
            return [tuple(row) for row in await raw.fetch(block)]
        await raw.execute(block)
        return []


def is_log(line: str) -> bool:
    """Whether it begins as a line of the worker's log."""
    return re.match(r"\d{4}-\d\d-\d\d ", line) is not None


def free_port() -> str:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])
