"""What a page asks of Postgres: four statements at most, whatever it shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.api.pages.conftest import Browser
from tests.integration.test_interventions import put
from uow import Database, TaskState
from uow.db import acts, bounded
from uow.db.statement import Statement
from uow.db.transaction import Transaction

SETTINGS = {acts._BY_KEY, bounded.BOUND}
"""They begin a transaction: they ask nothing."""

MOST = 4


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(statement: object) -> None:
        if isinstance(statement, Statement) and statement.template not in SETTINGS:
            asked.append(statement.template.sql)

    with monkeypatch.context() as patch:
        for kind in (Database, Transaction):
            run: Any = kind.execute_once

            async def noting(
                self: Any, statement: Any, *more: Any, run: Any = run, **how: Any
            ) -> Any:
                note(statement)
                return await run(self, statement, *more, **how)

            patch.setattr(kind, "execute_once", noting)
        yield asked


@pytest.mark.parametrize(
    "path",
    ["/ui/tasks", "/ui/tasks?user=u&name=x", "/ui/tasks?state=failed", "/ui/tasks/{id}",
     "/ui/users", "/ui/users/u", "/ui/audit", "/ui/audit?who=x", "/ui/audit?task={id}", "/ui/bulk",
     "/ui/find?q=x", "/ui/tasks/{id}/cancel"],
)  # fmt: skip
async def test_a_page_asks_four_statements_at_most(
    browser: Browser, db: Database, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    id_ = await put(db, TaskState.RETRYING, user_id="u")
    with counting(monkeypatch) as asked:
        page = await browser.get(path.replace("{id}", str(id_)))
    assert page.status == 200
    assert 1 <= len(asked) <= MOST, asked
