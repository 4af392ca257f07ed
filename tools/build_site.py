"""Builds the documentation site, strictly: into site/.

    uv run --group docs tools/build_site.py

What is built are the pages of docs/ and those that are files of the repository: the changes, how to
contribute, how to report a hole. Zensical refuses
a link or an anchor that leads nowhere. What it lets pass is looked for here: a page in no nav, a
nav without its page, a docstring that names a parameter that is not there, and anything that a
browser would fetch from somebody else.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
STAGED = ROOT / ".site"
"""The pages as they are built; mkdocs.yml names it."""

SITE = ROOT / "site"

FILES = {
    "project/changelog.md": "CHANGELOG.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/security.md": "SECURITY.md",
}
"""Pages that are files of the repository."""


def stage(folder: Path) -> None:
    """Write all pages into `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    for name, file in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(relinked((ROOT / file).read_text(), name))
    for path in folder.rglob("*.md"):
        path.write_text(titled(path.read_text(), path.parent))


def titled(text: str, folder: Path) -> str:
    """`text` of a page in `folder`, in which links that are called as files are called as pages."""

    def link(found: re.Match[str]) -> str:
        page = folder / found[2]
        heading = re.search(r"^# (.+)$", page.read_text(), re.MULTILINE) if page.exists() else None
        return f"[{(heading or found)[1]}]({found[2]}{found[3] or ''})"

    return re.sub(r"\[([\w/-]+\.md)\]\(([^)#]+\.md)(#[^)]*)?\)", link, text)


def relinked(text: str, page: str) -> str:
    """`text` with its links to our pages written as seen from `page`."""
    up = "../" * (len(PurePosixPath(page).parts) - 1)
    for name, file in FILES.items():
        text = text.replace(f"]({file}", f"]({up}{name}")
    text = text.replace("](docs/decisions)", f"]({up}decisions/index.md)")
    text = re.sub(r"\]\(docs/", f"]({up}", text)
    published = re.escape(documentation())
    return re.sub(rf"{published}([\w/.-]*)", lambda found: up + page_at(found[1]), text)


def page_at(path: str) -> str:
    """The page or picture that is published at `path`, below the address of the documentation."""
    path = path.strip("/")
    if path.startswith("assets/") and (ROOT / "docs" / path).is_file():
        return path
    pages = {*pages_of(ROOT / "docs"), *FILES}
    for candidate in (f"{path}.md", f"{path}/index.md".strip("/")):
        if candidate in pages:
            return candidate
    sys.exit(f"a link leads to {documentation()}{path}/, but there is no page {path}.md")


def documentation() -> str:
    """Where the site is published."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["urls"]["Documentation"])


def pages_of(folder: Path) -> set[str]:
    """The pages in `folder`, by their paths in it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.md")}


def faults_of_nav(nav: list[str], pages: set[str]) -> list[str]:
    """What is wrong with the nav of mkdocs.yml."""
    return [
        *(f"no page {name}, which nav names" for name in sorted({*nav} - pages)),
        *(f"{name} is in no nav: name it in mkdocs.yml" for name in sorted(pages - {*nav})),
        *(f"{name} is in nav twice" for name in sorted({one for one in nav if nav.count(one) > 1})),
    ]


def nav_of(configuration: str) -> list[str]:
    """The pages that mkdocs.yml names."""
    block = configuration.partition("\nnav:\n")[2].partition("\n\n")[0]
    return re.findall(r"(?:- |: )(\S+\.md)$", block, re.MULTILINE)


def fetched(site: Path) -> list[str]:
    """What a browser would fetch from another host to show a page."""
    loads = (
        r"<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)"
    )
    found = {
        f"{path.relative_to(site)} loads {address}"
        for path in site.rglob("*.html")
        for address in re.findall(loads, path.read_text())
        if not address.startswith(documentation())  # canonical links, which nobody follows
    }
    styles = [
        path for path in site.rglob("*.css") if re.search(r"url\(.?https?:", path.read_text())
    ]
    found |= {f"{path.relative_to(site)} loads another host's file" for path in styles}
    return sorted(found)


def build() -> list[str]:
    """Build; returns what is wrong."""
    stage(STAGED)
    faults = faults_of_nav(nav_of((ROOT / "mkdocs.yml").read_text()), pages_of(STAGED))
    if faults:
        return faults
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(
        command, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        return [done.stdout]
    docstrings = [line for line in done.stdout.splitlines() if line.startswith("griffe: ")]
    return [*docstrings, *fetched(SITE)]


if __name__ == "__main__":
    wrong = build()
    look = f"python -m http.server --bind 127.0.0.1 --directory {SITE.relative_to(ROOT)}"
    print(*(wrong or [f"built; to look at it: {look}"]), sep="\n")
    sys.exit(bool(wrong))
