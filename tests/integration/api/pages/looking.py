"""Looking at a page as it comes, and sending its forms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTILE = "<script>alert(1)</script>\"'`{{7*7}}</td></table><b>x"

_TOKEN = re.compile(r'name="form_token" value="([^"]*)"')


@dataclass
class Seen:
    """What stands on a page.

    Attributes:
        text: All of it, with single spaces.
        links: Each with its text.
        tags: Every element, with its attributes.
    """

    status: int
    text: str
    links: list[tuple[str, str]]
    tags: list[tuple[str, dict[str, str | None]]]

    def to(self, said: str) -> str:
        """Where the first link with that text leads to."""
        return next(href for text, href in self.links if text == said)

    def hrefs(self) -> list[str]:
        return [href for _, href in self.links]

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        """The attributes of the elements of a class."""
        return [given for _, given in self.tags if name in (given.get("class") or "").split()]

    def ids(self) -> list[str]:
        return [str(given["id"]) for _, given in self.tags if "id" in given]


@dataclass
class _Reader(HTMLParser):
    text: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open_link: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self.text.append(" ")
        if tag == "a":
            self.open_link = (given.get("href") or "", len(self.text))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self.open_link is not None:
            href, since = self.open_link
            self.links.append((_plain(self.text[since:]), href))
            self.open_link = None

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _plain(parts: Sequence[str]) -> str:
    return " ".join("".join(parts).split())


def seen(response: httpx.Response) -> Seen:
    """A page, which is sound: nothing inline, each id once, each plot with its words."""
    assert response.headers["content-type"].startswith("text/html"), response.text
    reader = _Reader()
    reader.feed(response.text)
    page = Seen(response.status_code, _plain(reader.text), reader.links, reader.tags)
    for tag, given in page.tags:
        assert not any(one == "style" or one.startswith("on") for one in given), (tag, given)
        assert tag not in ("style", "b"), tag
        assert tag != "script" or "/ui/static/" in str(given["src"]), given
        assert tag != "svg" or (given["role"] == "img" and given["aria-label"]), given
    assert len(page.ids()) == len({*page.ids()})
    return page


async def look(api: httpx.AsyncClient, path: str, **query: Any) -> Seen:
    """A page that is there."""
    page = seen(await api.get(path, params=query or None))
    assert page.status == 200, page.text
    return page


async def send(
    api: httpx.AsyncClient, path: str, shown_at: str = "/ui/queues", **fields: str
) -> httpx.Response:
    """Send a form, or press a button, of the page at `shown_at`; no redirect is followed."""
    token = _TOKEN.search((await api.get(shown_at)).text)
    fields["form_token"] = token[1] if token else ""
    origin = str(api.base_url).rstrip("/")
    return await api.post(path, data=fields, headers={"origin": origin})


def under(app: ASGIApp, prefix: str) -> ASGIApp:
    """The app as it is behind a proxy that serves it under a path."""

    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "root_path": prefix, "path": prefix + scope["path"]}
        await app(scope, receive, send)

    return prefixed
