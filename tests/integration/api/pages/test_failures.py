"""The page of failures: each number leads to the tasks."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.integration.api.pages.looking import HOSTILE, look, seen
from tests.integration.test_numbers import put
from uow import Database
from uow.db.rollup import ErrorCount, add_errors
from uow.questions.failure_matrix import MOST_ROWS, failure_matrix


async def test_it_tells_types_functions_and_hours_apart(
    api: httpx.AsyncClient, db: Database
) -> None:
    await put(db, 0, 41, how="failed", error="ValueError", name="f")
    await put(db, 3 * 3600, 17, how="retry", error="ValueError", name="f")
    await put(db, 0, 5, how="failed", error="KeyError", name="g")
    await put(db, 30 * 3600, 99, how="failed", error="Old", name="g")
    page = await look(api, "/ui/failures")
    assert page.text.count("Old") == 0
    assert "63 attempts failed" in page.text
    number = {text: parse_qs(urlsplit(href).query) for text, href in reversed(page.links)}
    assert number["58"]["error"] == ["ValueError"]
    assert number["17"].keys() == {"error", "name", "settled-since", "settled-until"}
    assert number["17"]["name"] == ["f"]
    assert number["17"]["settled-since"] < number["17"]["settled-until"]
    assert (await api.get("/ui/tasks", params=number["17"])).status_code == 200
    assert page.with_class("heat-5")


async def test_it_is_filtered(api: httpx.AsyncClient, db: Database) -> None:
    await put(db, 0, 41, how="failed", error="ValueError", name="f")
    await put(db, 0, 5, how="failed", error="KeyError", name="g")
    page = await look(api, "/ui/failures", error="ValueError", since="7d")
    assert "41 attempts failed by ValueError" in page.text
    assert "KeyError" not in page.text
    page = await look(api, "/ui/failures", name="g")
    assert "5 attempts failed of g" in page.text
    page = await look(api, "/ui/failures", name="none")
    assert "Nothing has failed since" in page.text


@pytest.mark.parametrize("since", ["yesterday", "91d", "-1h"])
async def test_a_time_that_is_none_is_told_beside_the_form(
    api: httpx.AsyncClient, since: str
) -> None:
    page = seen(await api.get("/ui/failures", params={"since": since}))
    assert page.status == 422
    assert f"since={since}" in page.text
    assert seen(await api.get("/ui/failures?error=a%00b")).status == 422


async def test_hostile_types_are_text(api: httpx.AsyncClient, db: Database) -> None:
    await put(db, 0, 3, how="failed", error=HOSTILE, name=HOSTILE)
    page = await look(api, "/ui/failures", error=HOSTILE)
    assert page.text.count("<script>alert(1)</script>") >= 4


async def test_rare_pairs_are_left_out_and_counted(db: Database) -> None:
    from tests.integration.test_numbers import say

    await say(
        db,
        "INSERT INTO rollup_error (hour, name, error_type, n) SELECT date_trunc('hour', now()), "
        "'f' || i, 'E', i FROM generate_series(1, :n) AS i",
        n=MOST_ROWS + 7,
    )
    found = await failure_matrix(db, 24)
    assert (len(found.rows), found.left_out) == (MOST_ROWS, 7)
    assert found.rows[0].name == f"f{MOST_ROWS + 7}"
    assert found.total.value == sum(range(1, MOST_ROWS + 8))


@pytest.mark.parametrize(
    ("hours", "columns", "width"),
    [(1, 1, 1), (25, 25, 1), (169, 25, 7), (240, 11, 24), (2160, 23, 96)],
)
async def test_long_times_have_wide_columns_and_nothing_is_lost(
    db: Database, hours: int, columns: int, width: int
) -> None:
    begun = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for back in {0, hours // 2, hours - 1}:
        one = ErrorCount(begun - timedelta(hours=back), "f", "E", 1)
        await add_errors(db, [one])
    found = await failure_matrix(db, hours)
    assert (len(found.times), found.hours) == (columns, width)
    (row,) = found.rows
    assert sum(row.counts) == found.total.value == len({0, hours // 2, hours - 1})
    assert all((one.until - one.since).total_seconds() == width * 3600 for one in found.times)
