"""The tutorial, step by step, as its reader types it."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.reader import Reader
from tests.processes import ROOT, environment_of
from uow import Settings

STEPS = re.findall(
    r"^\| \[\d\. [^\]]+\]\((.+\.md)\)", (ROOT / "docs/tutorial/index.md").read_text(), re.M
)


@pytest.fixture
def effects() -> None:
    """Its servers are its own."""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    app = f"billing-{uuid4().hex[:8]}"  # `worker check` tells of every billing on this host
    reading = Reader(tmp_path, environment_of(Settings(), WORKER_APP=app))
    yield reading
    reading.close()


def test_the_steps_are_the_pages_that_are_there() -> None:
    pages = {path.name for path in (ROOT / "docs" / "tutorial").glob("*.md")} - {"index.md"}
    assert sorted(STEPS) == sorted(pages)


@pytest.mark.timeout(300)  # some fifty commands, each of which imports everything anew
def test_each_step_does_and_shows_what_its_page_says(reader: Reader) -> None:
    for step in STEPS:
        reader.follow(f"tutorial/{step}")
