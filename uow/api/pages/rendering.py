"""A page: its template, what it shows, and the regions of it that change while it is looked at."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from uow.api.page_paths import path_of
from uow.api.pages import wording
from uow.api.pages.static_files import STATIC_FILES
from uow.api.roles import Caller, Role

REGIONS: Final = "uow.regions"
"""In a scope: where the regions of the page are wanted, instead of the page."""

NAVIGATION: Final[tuple[tuple[str, str], ...]] = (
    ("/ui/", "Overview"),
    ("/ui/tasks", "Tasks"),
    ("/ui/queues", "Queues"),
    ("/ui/names", "Names"),
    ("/ui/users", "Users"),
    ("/ui/schedules", "Schedules"),
    ("/ui/workers", "Workers"),
    ("/ui/failures", "Failures"),
    ("/ui/audit", "Audit"),
)
"""Paths and headings of the pages that every page leads to."""


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions of one page. In a template: ``{% call region("waiting") %}…{% endcall %}``.

    Attributes:
        rendered: What is in each, by its id.
    """

    rendered: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, named: str, *, caller: Callable[[], Markup], tag: str = "section", cls: str = ""
    ) -> Markup:
        """An element that the script may put a newer one in the place of, if its content differs.

        The script knows by ``data-live`` whether it does.
        """
        classes = Markup(' class="{}"').format(cls) if cls else ""
        content = Markup(_encodable(caller()))  # noqa: S704 - it is one already
        said = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
        element = Markup('<{} id="{}" data-live="{}"{}>{}</{}>')
        whole = element.format(tag, named, said, classes, content, tag)
        self.rendered[named] = str(whole)
        return whole


@dataclass(frozen=True, slots=True)
class Links:
    """Writes addresses of this site, as the browser has to ask for them.

    Args:
        root_path: The path under which a proxy serves the site.
    """

    root_path: str

    def __call__(self, path: str, **words: object) -> str:
        """The address of a path like ``/ui/tasks``; words that are None or empty are left out.

        ``settled_since`` becomes ``settled-since``, the word of a filter.
        """
        said = [(word.replace("_", "-"), value) for word, value in words.items()]
        return self.to(path, said)

    def to(self, path: str, words: Any = ()) -> str:
        """The same with the words as pairs."""
        said = urlencode([(word, value) for word, value in words if value not in (None, "")])
        return quote(self.root_path + path, safe="/%") + (f"?{said}" if said else "")

    def static(self, name: str) -> str:
        """The address of a file of ours; another one when its content is another."""
        return self(f"/ui/static/{name}", v=STATIC_FILES[name].version)


def segment(text: object) -> str:
    """One segment of a path: a slash in a queue's name is no slash of the path."""
    return quote(str(text), safe="")


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("uow.api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= wording.FILTERS
    found.globals |= {"segment": segment, "navigation": NAVIGATION, "Role": Role}
    return found


_TEMPLATES: Final = _environment()


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> HTMLResponse:
    """A page, or, for whoever looks at it already, nothing: its regions go into the scope then.

    Every template has, besides `values`: ``link``, ``region``, ``viewer`` (who looks at it),
    ``may(role)``, ``path`` (of the page, without the prefix), ``form_token``, ``logged_in``.
    """
    regions = Regions()
    page = _TEMPLATES.get_template(template)
    html = _encodable(page.render(**_always(request), region=regions, **values))
    wanted: dict[str, str] | None = request.scope.get(REGIONS)
    if wanted is not None:
        wanted.update(regions.rendered)
        html = ""
    return HTMLResponse(html, status, headers)


def _encodable(text: str) -> str:
    """JSON may have lone surrogates, which no page can be sent with."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _always(request: Request) -> dict[str, object]:
    state = request.scope.get("state", {})
    viewer = viewer_of(request)
    root_path = request.scope.get("root_path", "")
    return {
        "link": Links(root_path),
        "viewer": viewer,
        "may": lambda role: viewer is not None and viewer.may(Role(role)),
        "path": path_of(request.scope),
        "form_token": state.get("form_token", ""),
        "logged_in": state.get("logged_in", False),
    }


def viewer_of(request: Request) -> Caller | None:
    """Who looks at a page; None: nobody has been let in yet."""
    state = request.scope.get("state", {})
    name, role = state.get("actor_name"), state.get("role")
    return Caller(name, role) if isinstance(name, str) and isinstance(role, Role) else None
