"""The lines of curl that pages show do what they say when they are pasted."""

import shlex
from html import unescape
from urllib.parse import urlsplit

import httpx
import pytest


async def lines(api: httpx.AsyncClient, path: str) -> list[list[str]]:
    """The words of each line of curl on a page."""
    page = (await api.get(path)).text
    return [
        shlex.split(line)
        for part in page.split("<code>")
        for line in unescape(part.split("</code>")[0]).splitlines()
        if line.startswith("curl ")
    ]


async def paste(api: httpx.AsyncClient, words: list[str]) -> httpx.Response:
    address = urlsplit(words[-1])
    given = dict(zip(words[1:-1:2], words[2:-1:2], strict=True))
    kind = {"Content-Type": "application/json"} if "-d" in given else {}
    return await api.request(
        given["-X"], f"{address.path}?{address.query}", content=given.get("-d"), headers=kind
    )


@pytest.mark.parametrize(
    "path",
    ["/ui/queues", "/ui/queues/mail", "/ui/names/billing.send", "/ui/users/zo%C3%AB%2F7%20'x'"],
)
async def test_a_pause_of_a_page_is_a_line_with_the_same_end(
    api: httpx.AsyncClient, path: str
) -> None:
    pausing, resuming = await lines(api, path)
    assert (await paste(api, pausing)).status_code == 204
    [pause] = (await api.get("/api/pauses")).json()
    assert pause["reason"] == "why"
    assert pause["until"] is not None
    assert (await paste(api, resuming)).status_code == 204


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/ui/audit?who=ann&since=3d", "who=ann&since=3d"),
        ("/ui/audit", ""),
        ("/ui/failures?since=3h&name=a%26b", "since=3h&by=error&name=a%26b"),
    ],
)
async def test_a_list_of_a_page_is_a_line_with_the_same_filter(
    api: httpx.AsyncClient, path: str, asked: str
) -> None:
    [line] = await lines(api, path)
    assert urlsplit(line[-1]).query == asked
    assert (await paste(api, line)).status_code == 200
