"""`worker check`: whether the worker processes of this host are well.

It asks each of them over its socket (`uow.process.roster`) and imports neither settings nor
anything of yours, so that it takes no time and can be run every few seconds.
"""

import json
import os
import re
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from uow.process import roster
from uow.process.roster import Entry

ANSWER_SECONDS = 2.0
"""A process that takes longer does not answer; all of them are asked at once."""

_ASKED = b"GET /process HTTP/1.0\r\n\r\n"

_TOLD = {"kind", "pid", "app", "queues", "state", "seconds", "unwell", "unready"}

_APP = re.compile(r"^\s*(?:export\s+)?WORKER_APP\s*=\s*(['\"]?)([A-Za-z0-9._-]{1,64})\1\s*$", re.M)


class Asked(NamedTuple):
    """Which processes are meant.

    Attributes:
        pids: These alone; none: all.
        queue: Those that serve it.
        app: Those of this app.
    """

    pids: tuple[int, ...] = ()
    queue: str | None = None
    app: str | None = None
    as_json: bool = False

    def __str__(self) -> str:
        said = [f"pid {' or '.join(map(str, self.pids))}"] if self.pids else []
        said += [f"queue {self.queue}"] if self.queue else []
        said += [f"WORKER_APP={self.app}"] if self.app else []
        return f" with {', '.join(said)}" if said else ""


def question(arguments: Sequence[str]) -> Asked | None:
    """What these arguments ask; None: something that is the command line's to answer."""
    pids: list[int] = []
    queue, as_json, rest = None, False, list(arguments)
    while rest:
        word = rest.pop(0)
        if word.isascii() and word.isdigit():
            pids.append(int(word))
        elif word == "--queue" and rest:
            queue = rest.pop(0)
        elif word.startswith("--queue="):
            queue = word.removeprefix("--queue=")
        elif word == "--json":
            as_json = True
        else:
            return None
    return Asked(tuple(pids), queue, app_of_environment(), as_json)


def app_of_environment() -> str | None:
    """`WORKER_APP`, as the settings find it: in the environment, or else in ``.env``."""
    given = os.environ.get("WORKER_APP")
    if given is None:
        try:
            with open(".env", encoding="utf-8") as file:  # noqa: PTH123
                found = _APP.findall(file.read())
        except (OSError, UnicodeDecodeError):
            return None
        given = found[-1][1] if found else None
    return given or None


def check(asked: Asked) -> int:
    """Say how they are, a line for each; returns the exit code: 0, or 1 if one is not well."""
    answers = [one for one in _ask(list(_meant(asked))) if _is_meant(one, asked)]
    missing = sorted({*asked.pids} - {one["pid"] for one in answers})
    if asked.as_json:
        sys.stdout.write(f"{json.dumps(answers)}\n")
    else:
        for one in answers:
            sys.stdout.write(f"{_in_words(one)}\n")
    for pid in missing:
        sys.stderr.write(f"worker: pid {pid} is no worker process of yours\n")
    if not answers and not missing:
        sys.stderr.write(f"worker: there is no worker process{asked} of yours on this host\n")
    is_well = answers and not missing and all(_is_well(one) for one in answers)
    return 0 if is_well else 1


def _meant(asked: Asked) -> "list[Entry]":
    app = None if asked.app is None else roster.checksum(asked.app)
    return [
        one
        for one in roster.entries()
        if (not asked.pids or one.pid in asked.pids) and app in (None, one.app)
    ]


def _is_meant(answer: dict[str, Any], asked: Asked) -> bool:
    """Who says nothing, or has no queues, as a supervisor, may be meant."""
    queues = answer.get("queues")
    return asked.queue is None or not queues or asked.queue in queues


def _ask(entries: "list[Entry]") -> list[dict[str, Any]]:
    deadline = time.monotonic() + ANSWER_SECONDS
    asked = [(one, _connected(one, deadline)) for one in entries]
    answers = []
    for entry, connection in asked:
        if connection is None:  # a process that was killed has left it
            entry.remove()
        else:
            with connection:
                answers.append(_answer(entry, connection, deadline))
    return answers


def _connected(entry: Entry, deadline: float) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(max(deadline - time.monotonic(), 0.01))
    try:
        connection.connect(entry.path)
        connection.sendall(_ASKED)
    except (ConnectionRefusedError, FileNotFoundError):
        connection.close()
        return None
    except OSError:
        pass  # it does not listen: the answer will not come either
    return connection


def _answer(entry: Entry, connection: socket.socket, deadline: float) -> dict[str, Any]:
    said = b""
    try:
        while True:
            connection.settimeout(max(deadline - time.monotonic(), 0.01))
            part = connection.recv(65536)
            if not part:
                break
            said += part
        told = json.loads(said.partition(b"\r\n\r\n")[2])
        if isinstance(told, dict) and told.keys() >= _TOLD:
            return told
    except (OSError, ValueError):
        pass
    silent = f"it does not answer within {ANSWER_SECONDS:g} s: it is stopped, or hangs"
    return {"pid": entry.pid, "state": "silent", "unwell": silent, "unready": silent}


def _is_well(one: dict[str, Any]) -> bool:
    return one["unwell"] is None and one["state"] != "starting"


def _in_words(one: dict[str, Any]) -> str:
    who = f"pid {one['pid']}"
    if "kind" in one:
        queues = f", {' '.join(one['queues'])}" if one["queues"] else ""
        who += f" ({one['kind']} of {one['app']}{queues})"
    if one["unwell"] is not None:
        return f"{who} is unwell: {one['unwell']}"
    if one["state"] == "starting":
        return f"{who} is starting, for {one['seconds']:.0f} s"
    return f"{who} is well" + (f", but not ready: {one['unready']}" if one["unready"] else "")
