"""The pytest plugin: fixtures, and nothing that is imported before one of them is asked for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from uow.testing.kit import Tasks


@pytest.fixture
def tasks_options() -> dict[str, Any]:
    """Arguments of `uow.testing.tasks` beside the session; define a fixture of this name to give
    some: ``settings``, ``app``, ``registry``, ``context``."""
    return {}


@pytest.fixture
def tasks(session: Any, tasks_options: dict[str, Any]) -> "Iterator[Tasks]":
    """The tasks of this test, in the transaction of your fixture ``session``."""
    from uow.testing.kit import Tasks

    with Tasks(session, **tasks_options) as open_tasks:
        yield open_tasks
