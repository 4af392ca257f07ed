"""What `uv run` installs has exact versions in pyproject.toml."""

import runpy
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PROJECT = ROOT / "pyproject.toml"


@pytest.fixture
def project() -> dict[str, Any]:
    read = tomllib.loads(PROJECT.read_text())
    if "constraint-dependencies" not in read["tool"]["uv"]:
        pytest.skip("this is a copy that tries the newest of everything")
    return read


def exact_versions(project: dict[str, Any]) -> dict[str, str]:
    """The versions that hold for this Python on this system."""
    found: dict[str, str] = {}
    for requirement in map(Requirement, project["tool"]["uv"]["constraint-dependencies"]):
        if requirement.marker is None or requirement.marker.evaluate():
            (one,) = requirement.specifier
            assert one.operator == "==", requirement
            found[canonicalize_name(requirement.name)] = one.version
    return found


def needed(requirement: Requirement, found: set[tuple[str, str]]) -> None:
    """Add what `requirement` needs: names, and the extras for which they were asked."""
    name = canonicalize_name(requirement.name)
    for extra in ("", *requirement.extras):
        if (name, extra) not in found:
            found.add((name, extra))
            for further in map(Requirement, requires(name) or ()):
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    needed(further, found)


def grouped(groups: dict[str, list[str | dict[str, str]]], name: str) -> Iterator[Requirement]:
    """What a group asks for, with the groups that it includes."""
    for one in groups[name]:
        if isinstance(one, str):
            yield Requirement(one)
        else:
            yield from grouped(groups, one["include-group"])


def test_each_installed_distribution_has_the_version_of_its_constraint(
    project: dict[str, Any],
) -> None:
    """Not so? `make constraints` writes them anew, and `uv sync` installs them."""
    has_docs = find_spec("zensical") is not None  # which is no default group
    found: set[tuple[str, str]] = set()
    for group in ("dev", "docs") if has_docs else ("dev",):
        for requirement in grouped(project["dependency-groups"], group):
            needed(requirement, found)
    installed = {name: version(name) for name, _ in found if name != "uow-worker"}
    exact = exact_versions(project)
    assert installed == {name: exact.get(name) for name in installed}
    assert not has_docs or installed == exact


def test_what_builds_the_package_has_exact_versions(project: dict[str, Any]) -> None:
    builds = project["tool"]["uv"]["build-constraint-dependencies"]
    exact = {canonicalize_name(Requirement(one).name) for one in builds if "==" in one}
    assert exact >= {"hatchling", "editables"}
    assert len(exact) == len(builds)


def test_the_newest_are_tried_without_them_and_with_everything_else(
    project: dict[str, Any],
) -> None:
    without_versions = runpy.run_path(str(ROOT / "tools" / "versions.py"))["without_versions"]
    left = tomllib.loads(without_versions(PROJECT.read_text()))
    assert left["tool"].pop("uv").keys() == {"default-groups", "sources", "workspace"}
    del project["tool"]["uv"]
    assert left == project
