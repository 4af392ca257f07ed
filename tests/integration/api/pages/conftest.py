"""Pages as a browser without scripts has them: what they say, where they lead, what they send."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from fastapi import FastAPI

from tests.integration.api.conftest import calling
from tests.servers import serving

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`${7*7}{{7*7}}"
"""What a task may have in every field."""

BLOCKS = {"td", "th", "p", "li", "dt", "dd", "h1", "h2", "h3", "pre", "summary", "label", "option"}

VOID = {"input", "link", "meta", "img", "br", "hr", "path", "rect", "circle", "line"}


@dataclass
class Form:
    """A form, with what it sends as it stands.

    Attributes:
        fields: Each with its values; of checkboxes and radios those that are checked.
        choices: Values of checkboxes, by name, checked or not.
        buttons: The address that each leads to, by the text on it.
    """

    action: str
    method: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)
    buttons: dict[str, str] = field(default_factory=dict)
    sent_by: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Page:
    """A page that was read.

    Attributes:
        text: All that can be read, with single spaces.
        links: Addresses by the text of the link; the first of each text.
        forms: By their ids; without one, by their address.
        tags: Every element that there is, with its attributes.
    """

    response: httpx.Response
    text: str
    links: dict[str, str]
    addresses: list[str]
    forms: dict[str, Form]
    tags: list[tuple[str, dict[str, str | None]]]

    @property
    def status(self) -> int:
        return self.response.status_code

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of that kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    def ids(self) -> list[str]:
        return [str(one["id"]) for _, one in self.tags if one.get("id")]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.links: dict[str, str] = {}
        self.addresses: list[str] = []
        self.forms: dict[str, Form] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._around: list[str] = []
        self._form: str | None = None
        self._open: list[tuple[str, dict[str, str | None], int]] = []
        self._select: str | None = None
        self._late: list[tuple[str, str, dict[str, str | None], str]] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag not in VOID:
            self._around.append(tag)
        if tag == "form":
            self._form = given.get("id") or given.get("action") or ""
            self.forms[self._form] = Form(
                given.get("action") or "", (given.get("method") or "get").lower()
            )
        if tag in ("a", "button", "textarea"):
            self._open.append((tag, given, len(self.text)))
        if tag == "select":
            self._select = given.get("name")
        if tag == "option" and self._select and "selected" in given:
            self._keep("input", {"name": self._select, "value": given.get("value")}, "")
        if tag == "input" and given.get("name"):
            self._keep("input", given, "")

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.text.append(" ")
        if tag in self._around:
            while self._around.pop() != tag:
                pass
        if tag == "form":
            self._form = None
        if tag == "select":
            self._select = None
        if self._open and self._open[-1][0] == tag:
            _, given, since = self._open.pop()
            said = " ".join("".join(self.text[since:]).split())
            if tag == "a":
                self.links.setdefault(said, given.get("href") or "")
                self.addresses.append(given.get("href") or "")
            else:
                self._keep(tag, given, "".join(self.text[since:]) if tag == "textarea" else said)

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & {*self._around}:
            self.text.append(data)

    def _keep(self, tag: str, given: dict[str, str | None], said: str) -> None:
        form = given.get("form") or self._form
        if form is not None:
            self._late.append((form, tag, given, said))

    def settle(self) -> None:
        """Put what names its form into that form, which may come later in the page."""
        for of, tag, given, said in self._late:
            form = self.forms.get(of)
            if form is None:
                raise AssertionError(f"there is no form {of!r}")
            name, value = given.get("name") or "", given.get("value") or ""
            if tag == "button":
                form.buttons[said] = given.get("formaction") or form.action
                form.sent_by[said] = (name, value)
            elif tag == "textarea":
                form.fields.setdefault(name, []).append(said.removeprefix("\n"))
            elif given.get("type") in ("checkbox", "radio"):
                form.choices.setdefault(name, []).append(value)
                if "checked" in given:
                    form.fields.setdefault(name, []).append(value)
            else:
                form.fields.setdefault(name, []).append(value)


def read(response: httpx.Response) -> Page:
    """What a page says; it is one."""
    assert response.headers["content-type"].startswith("text/html"), response.text
    reader = _Reader()
    reader.feed(response.text)
    reader.settle()
    page = Page(
        response, " ".join("".join(reader.text).split()), reader.links, reader.addresses,
        reader.forms, reader.tags,
    )  # fmt: skip
    assert_sound(page)
    return page


def assert_sound(page: Page) -> None:
    """What holds for every page: nothing inline, ids once, names for what one fills in."""
    ids = page.ids()
    assert len(ids) == len({*ids}), sorted(one for one in ids if ids.count(one) > 1)
    for tag, given in page.tags:
        assert not [one for one in given if one.startswith("on") or one == "style"], (tag, given)
        assert tag not in ("style", "iframe", "object"), tag
        assert tag != "script" or "/ui/static/" in str(given["src"]), given


class Browser:
    """Follows links and sends forms; shows where it was led to."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def get(self, path: str, **words: Any) -> Page:
        """A page."""
        return read(await self.http.get(path, params=words or None))

    async def post(self, path: str, data: Mapping[str, Any] | None = None) -> httpx.Response:
        """Send a form; redirects are not followed."""
        headers = {"origin": str(self.http.base_url).rstrip("/")}
        return await self.http.post(path, data=dict(data or {}), headers=headers)

    async def press(self, page: Page, form: str, button: str, **fields: Any) -> httpx.Response:
        """Press a button of a form, with these fields filled in."""
        found = page.forms[form]
        name, value = found.sent_by[button]
        sent: dict[str, Any] = {**found.fields, **({name: value} if name else {}), **fields}
        return await self.post(urljoin(str(page.response.url), found.buttons[button]), sent)

    async def led_to(self, response: httpx.Response) -> Page:
        """The page that an act has led to."""
        assert response.status_code == 303, response.text
        return await self.get(urljoin(str(response.url), response.headers["location"]))


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[Browser]:
    """A browser of pages of a real server; it is this machine, an admin."""
    async with serving(app) as http:
        yield Browser(http)


__all__ = ["HOSTILE", "Browser", "Page", "calling", "read"]
