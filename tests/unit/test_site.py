"""What stands where in docs/, and where README's links lead. The build itself is strict, too."""

import importlib
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import SecretStr

import uow
from worker.settings import WorkerAppSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONFIGURATION = (ROOT / "mkdocs.yml").read_text()


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "tools" / "build_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_site = _loaded()


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, as they are built."""
    folder: Path = tmp_path_factory.mktemp("site") / "pages"
    build_site.stage(folder)
    return folder


def test_every_page_is_in_nav_once_and_every_name_in_nav_is_a_page(staged: Path) -> None:
    nav = build_site.nav_of(CONFIGURATION)
    assert build_site.faults_of_nav(nav, build_site.pages_of(staged)) == []


def test_the_nav_is_read_as_a_whole() -> None:
    assert len(build_site.nav_of(CONFIGURATION)) == CONFIGURATION.count(".md\n")


def test_what_is_wrong_with_a_nav_is_told() -> None:
    assert build_site.faults_of_nav(["a.md", "gone.md", "a.md"], {"a.md", "lost.md"}) == [
        "no page gone.md, which nav names",
        "lost.md is in no nav: name it in mkdocs.yml",
        "a.md is in nav twice",
    ]


def test_every_public_name_has_its_place_in_the_reference_and_only_one() -> None:
    pages = "".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    named = re.findall(r"^::: uow\.(\w+)$", pages, re.MULTILINE)
    assert "errors" in named  # with all that it has
    errors = {name for name in uow.__all__ if hasattr(uow.errors, name)}
    assert sorted({*uow.__all__} - errors - {*named}) == [], "name them in docs/reference"
    assert sorted({*named} - {*uow.__all__} - {"errors"}) == []
    assert len(named) == len({*named})


@pytest.mark.parametrize(
    "package",
    ["uow.api", "uow.contrib.otel", "uow.contrib.sentry", "uow.events", "uow.sync", "uow.telemetry",
     "uow.testing"],
)  # fmt: skip
def test_so_has_every_public_name_of_a_package(package: str) -> None:
    pages = "".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    named = re.findall(rf"^::: {package}\.(\w+)$", pages, re.MULTILINE)
    assert sorted(named) == sorted(importlib.import_module(package).__all__)


@pytest.mark.parametrize("field", WorkerAppSettings.model_fields)
def test_the_table_of_settings_has_the_defaults_and_the_words_of_the_code(
    field: str,
) -> None:
    table = (DOCS / "reference" / "settings.md").read_text()
    given = WorkerAppSettings.model_fields[field]
    row = f"| `WORKER_{field.upper()}` | {shown(given.default)} | {given.description} |"
    assert row in table.splitlines()


def shown(default: object) -> str:
    match default:
        case None | () | "":
            return "\N{EN DASH}"
        case SecretStr():
            return f"`{default.get_secret_value()}`"
        case bool():
            return f"`{str(default).lower()}`"
        case float():
            return f"`{default:g}`"
        case tuple():
            return f"`{','.join(default)}`"
    return f"`{default}`"


def links_of(text: str) -> list[str]:
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    return [*inline, *re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)]


PICTURES = f"{PROJECT['urls']['Documentation']}assets/"


ELSEWHERE = ["https://arq-docs.helpmanual.io"]
"""What README links to that is not ours."""


def test_every_link_of_the_readme_is_absolute_and_begins_with_an_address_of_the_project() -> None:
    addresses = (*PROJECT["urls"].values(), *ELSEWHERE)
    assert [link for link in links_of(README) if not link.startswith(addresses)] == []


def test_each_picture_of_the_readme_is_one_of_the_docs() -> None:
    named = [link.removeprefix(PICTURES) for link in links_of(README) if link.startswith(PICTURES)]
    assert named
    assert all((DOCS / "assets" / name).is_file() for name in named)


@pytest.mark.parametrize(
    "link",
    [
        link
        for link in links_of(README)
        if link.startswith(PROJECT["urls"]["Documentation"]) and not link.startswith(PICTURES)
    ],
)
def test_where_a_link_of_the_readme_leads_there_is_a_page_with_that_heading(
    link: str, staged: Path
) -> None:
    path, _, anchor = link.removeprefix(PROJECT["urls"]["Documentation"]).partition("#")
    page = staged / build_site.page_at(path)
    if page.suffix == ".png":
        assert page.is_file()
        return
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    assert not anchor or anchor in [
        re.sub(r"\W+", "-", name.lower()).strip("-") for name in headings
    ]


def test_a_link_of_the_readme_is_defined_and_a_definition_is_used() -> None:
    used = set(re.findall(r"\]\[([\w-]+)\]", README))
    assert used == set(re.findall(r"^\[([\w-]+)\]: ", README, re.MULTILINE))


def test_the_task_on_the_home_page_is_that_of_the_readme_which_is_run() -> None:
    (shown,) = re.findall(
        r"`app/tasks.py`:\n\n(```python.*?```)", (DOCS / "index.md").read_text(), re.S
    )
    assert shown in README


def test_the_site_is_built_for_the_address_that_the_project_names() -> None:
    assert f"site_url: {PROJECT['urls']['Documentation']} " in CONFIGURATION
    assert PROJECT["urls"]["Changelog"].startswith(PROJECT["urls"]["Documentation"])
    build_site.page_at(PROJECT["urls"]["Changelog"].removeprefix(PROJECT["urls"]["Documentation"]))


def test_a_page_that_is_made_of_a_file_links_to_the_pages_beside_it(staged: Path) -> None:
    for page in build_site.FILES:
        links = [link for link in links_of((staged / page).read_text()) if "://" not in link]
        gone = [link for link in links if not (staged / page).parent.joinpath(
            link.partition("#")[0]).exists() and not link.startswith("#")]  # fmt: skip
        assert gone == [], page
    contributing = (staged / "project/contributing.md").read_text()
    assert "](../internals.md#the-map)" in contributing


def test_a_link_that_is_called_as_its_file_is_called_as_its_page(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# The other\n")
    text = "[b.md](b.md), [docs/b.md](b.md#x), [b](b.md), `b.md`, [c.md](c.md)"
    assert build_site.titled(text, tmp_path) == (
        "[The other](b.md), [The other](b.md#x), [b](b.md), `b.md`, [c.md](c.md)"
    )


def test_what_a_page_fetches_from_others_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="https://a.example">a</a><script src="https://cdn.example/x.js"></script>'
        '<link rel="canonical" href="https://uow-worker.readthedocs.io/en/stable/">'
        '<link href="//fonts.example/f.css" rel="stylesheet"><img src="a.png">'
    )
    (tmp_path / "a.css").write_text("@font-face { src: url(https://fonts.example/f.woff) }")
    assert build_site.fetched(tmp_path) == [
        "a.css loads another host's file",
        "a.html loads //fonts.example/f.css",
        "a.html loads https://cdn.example/x.js",
    ]
