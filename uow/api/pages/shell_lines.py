"""The same act in a shell: a line of ``worker``, and one of ``curl``."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from starlette.requests import Request

from uow.questions.filters import ARGUMENT

AUTHORIZATION = '"Authorization: Bearer $WORKER_TOKEN"'
"""In double quotes: the shell puts the token in."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys, or shows in another order than it is."""


def worker_line(*words: str, about: str | None = None, **options: str | int | None) -> str:
    """A line of our command; options that are None or empty are left out.

    Args:
        about: What somebody else has named; a name also where it looks like an option.
    """
    said = ["worker", *words]
    for name, value in options.items():
        if value not in (None, ""):
            said.append(f"--{name.replace('_', '-')}={value}")
    if about is not None:
        said += ["--", about] if about.startswith("-") else [about]
    return " ".join(map(quoted, said))


def quoted(word: str) -> str:
    """A word as a shell takes it for itself.

    Control characters are written out: between quotes, too, one that is pasted may end the line
    that it stands in, and what is behind it is run.
    """
    if not _CONTROL.search(word):
        return shlex.quote(word)
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    said = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", plain)
    return f"$'{said}'"


def filter_options(words: Sequence[tuple[str, str]]) -> list[str]:
    """A filter as options of a command."""
    return [
        f"--arg={word.removeprefix(ARGUMENT)}={value}"
        if word.startswith(ARGUMENT)
        else f"--{word}={value}"
        for word, value in words
    ]


def curl_line(
    request: Request,
    method: str,
    path: str,
    body: Mapping[str, object] | None = None,
    query: Mapping[str, str] | None = None,
) -> str:
    """A line that asks the API of this very server.

    Args:
        path: As it is written in an address: each segment of it quoted.
        body: Sent as JSON; what is None or empty is left out.
        query: Parameters of the address; what is empty is left out.
    """
    address = str(request.base_url).rstrip("/") + path
    if asked := [(name, value) for name, value in (query or {}).items() if value]:
        address += "?" + urlencode(asked)
    said = ["curl", "-X", method, "-H", AUTHORIZATION]
    sent = {name: value for name, value in (body or {}).items() if value not in (None, "")}
    if sent:
        said += ["-H", shlex.quote("Content-Type: application/json")]
        said += ["-d", shlex.quote(json.dumps(sent))]
    return " ".join([*said, quoted(address)])
