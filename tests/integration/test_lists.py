"""Lists of tasks are exact, or say how far they looked; a page goes on where the last one ended."""

import itertools
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from uow import Database, TaskState
from uow.db.bounded import bounded_reading
from uow.db.listing import WINDOW, WINDOW_OF_KEY, Direction, ListedTask
from uow.errors import InvalidFilter
from uow.ids import lowest_at
from uow.questions.filters import TaskFilter
from uow.questions.lists import CANDIDATES, TaskLists, TaskPage
from uow.questions.redaction import Redaction
from uow.settings.of_looking import REDACTED_KEYS
from uow.tasks.registry import Registry

NOW = datetime.now(UTC).replace(microsecond=0)

INSERT = text("""
    INSERT INTO task (id, name, args, state, ended, queue, user_id, worker, dispatch_at, run_at,
                      created_at, settled_at, expires_at)
    SELECT :id, :name, CAST(:args AS json), :state, :ended, :queue, :user, :worker, :dispatch_at,
           at, at, CAST(:settled_at AS timestamptz), CAST(:settled_at AS timestamptz)
    FROM CAST(:created_at AS timestamptz) AS at
""")
RUNS = text("INSERT INTO worker_process (id, queue, running) VALUES (:id, 'q', :running)")
FAILED = text("""
    INSERT INTO task_error (task_id, attempt, error_type, message) VALUES (:id, 1, :type, 'm')
""")


@pytest.fixture
def lists(db: Database, registry: Registry) -> TaskLists:
    return TaskLists(db, Redaction(REDACTED_KEYS, registry))


def filter_of(**words: str) -> TaskFilter:
    return TaskFilter.read([(word.replace("__", ":"), value) for word, value in words.items()])


async def insert(db: Database, **values: Any) -> UUID:
    """A row of `task`; what is settled is so a minute after it was created."""
    created_at = values.get("created_at", NOW)
    state = values.get("state", "queued")
    settled = TaskState(state).settled
    row: dict[str, Any] = {
        "id": UUID(int=lowest_at(created_at).int | random.getrandbits(70) | 7 << 76),
        "name": "x", "args": "{}", "state": state,
        "ended": state if state in ("failed", "cancelled") else None, "queue": "q", "user": None,
        "worker": None, "dispatch_at": datetime.max.replace(tzinfo=UTC), "created_at": created_at,
        "settled_at": created_at + timedelta(minutes=1) if settled else None,
    }  # fmt: skip
    row |= values
    statement = INSERT
    if row["dispatch_at"].year == 9999:  # asyncpg has no word for it
        statement = text(INSERT.text.replace(":dispatch_at", "'infinity'"))
        del row["dispatch_at"]
    await db.execute_once(statement, row)
    made: UUID = row["id"]
    return made


async def walked(
    lists: TaskLists, wanted: TaskFilter, limit: int, order: Direction = "newest"
) -> list[TaskPage]:
    """The pages of a list, to its end."""
    pages = [await lists.page(wanted, limit=limit, order=order)]
    while pages[-1].next is not None:
        assert len(pages) < 200
        pages.append(await lists.page(wanted, limit=limit, order=order, after=pages[-1].next))
    return pages


def ids_of(pages: Sequence[TaskPage]) -> list[UUID]:
    return [task.id for page in pages for task in page.tasks]


@pytest.fixture
async def many(db: Database) -> list[dict[str, Any]]:
    """Tasks of every kind, some with ids of before UUIDv7 was in use."""
    chosen = random.Random(14)
    rows = []
    for n in range(120):
        created_at = NOW - timedelta(minutes=n)
        state = chosen.choice(list(TaskState))
        row: dict[str, Any] = {
            "name": chosen.choice(["billing.pay", "billing.remind", "mail.send"]), "state": state,
            "queue": chosen.choice(["q", "r"]), "user": chosen.choice(["1", "2", None]),
            "worker": chosen.choice(["w1", "w2"]), "created_at": created_at,
            "args": f'{{"n": {n % 3}, "s": "a{n % 2}"}}',
        }  # fmt: skip
        if n % 7 == 0:
            row["id"] = UUID(int=uuid4().int | 0xF << 124)
        if state in ("scheduled", "retrying"):
            row["dispatch_at"] = NOW + timedelta(minutes=chosen.randrange(60))
        row["id"] = await insert(db, **row)
        rows.append(row)
    for worker in ("w1", "w2"):
        running = [r["id"] for r in rows if r["state"] == "running" and r["worker"] == worker]
        await db.execute_once(RUNS, {"id": worker, "running": running})
    return rows


def settled_since(moment: datetime) -> Callable[[dict[str, Any]], bool]:
    return lambda r: r["state"].settled and r["created_at"] + timedelta(minutes=1) >= moment


def has_state(state: TaskState) -> Callable[[dict[str, Any]], bool]:
    return lambda r: r["state"] is state


HOUR_AGO = NOW - timedelta(hours=1)

FILTERS: dict[str, tuple[dict[str, str], Callable[[dict[str, Any]], bool]]] = {
    "all": ({}, lambda _: True),
    "name": ({"name": "mail.send"}, lambda r: r["name"] == "mail.send"),
    "prefix": ({"name": "billing.*"}, lambda r: r["name"].startswith("billing.")),
    "queue": ({"queue": "r"}, lambda r: r["queue"] == "r"),
    "user": ({"user": "1"}, lambda r: r["user"] == "1"),
    "worker": ({"worker": "w1"}, lambda r: r["worker"] == "w1"),
    **{state: ({"state": state}, has_state(state)) for state in TaskState},
    "unsettled": (
        {"state": "queued,scheduled,retrying,running"}, lambda r: not r["state"].settled,
    ),
    "not succeeded": (
        {"state": "queued,scheduled,retrying,running,failed,cancelled"},
        lambda r: r["state"] != "succeeded",
    ),
    "running and failed": (
        {"state": "running,failed"}, lambda r: r["state"] in ("running", "failed"),
    ),
    "running of a worker": (
        {"state": "running", "worker": "w2"},
        lambda r: r["state"] == "running" and r["worker"] == "w2",
    ),
    "state of a user": (
        {"state": "failed", "user": "2"}, lambda r: r["state"] == "failed" and r["user"] == "2",
    ),
    "state and name": (
        {"state": "queued,retrying", "name": "mail.*"},
        lambda r: r["state"] in ("queued", "retrying") and r["name"] == "mail.send",
    ),
    "since": ({"since": HOUR_AGO.isoformat()}, lambda r: r["created_at"] >= HOUR_AGO),
    "until": ({"until": HOUR_AGO.isoformat()}, lambda r: r["created_at"] < HOUR_AGO),
    "settled since": ({"settled-since": HOUR_AGO.isoformat()}, settled_since(HOUR_AGO)),
    "settled until": (
        {"settled-until": HOUR_AGO.isoformat()},
        lambda r: r["state"].settled and r["created_at"] + timedelta(minutes=1) < HOUR_AGO,
    ),
    "argument": ({"arg__n": "2"}, lambda r: '"n": 2' in r["args"]),
    "two arguments": (
        {"arg__n": "2", "arg__s": "a1"}, lambda r: r["args"] == '{"n": 2, "s": "a1"}',
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", FILTERS)
async def test_a_list_has_every_task_that_is_meant_in_order_and_once(
    lists: TaskLists, many: list[dict[str, Any]], which: str
) -> None:
    words, is_meant = FILTERS[which]
    wanted = filter_of(**words)
    start = lowest_at(NOW + timedelta(hours=1))
    meant = sorted(
        (row["id"] for row in many if is_meant(row)), key=lambda id_: (id_ > start, -id_.int)
    )
    assert meant
    for limit in (7, 120):
        pages = await walked(lists, wanted, limit)
        assert ids_of(pages) == meant
        assert ids_of(await walked(lists, wanted, limit, "oldest")) == meant[::-1]
        assert all(page.looked_at is None or "arg" in str(words) for page in pages)


async def test_a_page_leads_back_to_the_one_before_it(
    lists: TaskLists, many: list[dict[str, Any]]
) -> None:
    for words in ({}, {"user": "1"}, {"state": "failed,queued"}):
        pages = await walked(lists, filter_of(**words), 9)
        assert pages[0].previous is None
        for page, following in itertools.pairwise(pages):
            back = await lists.page(filter_of(**words), limit=9, before=following.previous)
            assert (back.tasks, back.next) == (page.tasks, page.next)
        first = await lists.page(filter_of(**words), limit=9, before=pages[1].previous)
        assert first.previous is None


async def test_a_task_is_shown_as_it_stands(lists: TaskLists, db: Database) -> None:
    id_ = await insert(db, state="failed", user="7", args='{"a": 1}')
    (found,) = (await lists.page(TaskFilter())).tasks
    assert found == ListedTask(
        id_, "x", TaskState.FAILED, "q", 0, "7", NOW, NOW, None, NOW + timedelta(minutes=1), 0, 0,
        None, None,
    )  # fmt: skip


class TestErrors:
    async def test_tasks_are_listed_by_their_last_error_of_a_type(
        self, lists: TaskLists, db: Database
    ) -> None:
        old, new, other = [
            await insert(db, state="failed", created_at=NOW - timedelta(minutes=n), user=str(n % 2))
            for n in (3, 2, 1)
        ]
        for id_, kind in ((old, "A"), (new, "A"), (other, "B"), (old, "A"), (old, "B")):
            await db.execute_once(FAILED, {"id": id_, "type": kind})
        for limit in (1, 2):
            assert ids_of(await walked(lists, filter_of(error="A"), limit)) == [old, new]
            assert ids_of(await walked(lists, filter_of(error="A"), limit, "oldest")) == [new, old]
        assert ids_of(await walked(lists, filter_of(error="B"), 1)) == [old, other]
        assert ids_of(await walked(lists, filter_of(error="A", user="1"), 1)) == [old]
        assert ids_of(await walked(lists, filter_of(error="A", state="queued"), 1)) == []

    async def test_its_places_are_its_own(self, lists: TaskLists) -> None:
        for given in (str(uuid4()), "e-1", "ex", "1", "", "\x00"):
            if given:
                with pytest.raises(InvalidFilter, match="is no place in this list"):
                    await lists.page(filter_of(error="A"), after=given)
        with pytest.raises(InvalidFilter, match="is no place in this list"):
            await lists.page(TaskFilter(), after="e1")


class TestSchedules:
    async def test_tasks_are_listed_by_their_ticks(self, lists: TaskLists, db: Database) -> None:
        expected = []
        for app in ("a", "b"):
            await db.execute_once(
                text(
                    "INSERT INTO schedule (app, name, version, definition) "
                    "VALUES (:app, 'nightly', '1', '{}')"
                ),
                {"app": app},
            )
        for n, app in itertools.product(range(6), ("a", "b")):
            tick = NOW - timedelta(hours=n)
            id_ = await insert(db, created_at=tick, state="succeeded")
            gone = (n, app) == (3, "a")
            await db.execute_once(
                text(
                    "INSERT INTO schedule_tick (app, name, tick, fate, task_id) "
                    "VALUES (:app, 'nightly', :tick, 'fired', :id)"
                ),
                {"app": app, "tick": tick, "id": uuid4() if gone else id_},
            )
            expected += [] if gone else [(tick, id_)]
        for limit in (1, 2, 3, 50):
            found = ids_of(await walked(lists, filter_of(schedule="nightly"), limit))
            assert sorted(found) == sorted(id_ for _, id_ in expected)
            ticks = {id_: tick for tick, id_ in expected}
            assert [ticks[id_] for id_ in found] == [tick for tick, _ in expected]
            oldest = await walked(lists, filter_of(schedule="nightly"), limit, "oldest")
            assert [ticks[id_] for id_ in ids_of(oldest)] == [tick for tick, _ in expected][::-1]
        assert ids_of(await walked(lists, filter_of(schedule="none"), 1)) == []


FILL = text("""
    INSERT INTO task (id, name, args, state, ended, queue, user_id, dispatch_at, created_at,
                      settled_at)
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM made) * 1000 AS bigint)), 12, '0')
                || '7000800000000000' || lpad(to_hex(n), 4, '0') AS uuid),
           CASE WHEN n = :rare THEN 'rare' ELSE 'x' END, '{"n": 1}', :state,
           CASE WHEN :state = 'failed' THEN 'failed' END, 'q', 'u', :dispatch, made,
           CASE WHEN :state IN ('succeeded', 'failed') THEN made END
    FROM (SELECT n, now() - n * interval '1 second' AS made FROM generate_series(1, :count) AS n)
         AS given
""")


class TestBounds:
    """What is looked for in the rows of a window ends with it, says so, and goes on."""

    async def fill(self, db: Database, count: int, *, rare: int, state: str = "succeeded") -> None:
        dispatch = NOW + timedelta(days=1)
        await db.execute_once(
            FILL, {"count": count, "rare": rare, "state": state, "dispatch": dispatch}
        )

    @pytest.mark.parametrize("order", ["newest", "oldest"])
    async def test_along_the_ids(self, lists: TaskLists, db: Database, order: Direction) -> None:
        await self.fill(db, WINDOW + 50, rare=WINDOW + 40 if order == "newest" else 11)
        page = await lists.page(filter_of(name="rare"), order=order)
        assert (page.tasks, page.looked_at) == ((), WINDOW)
        assert page.looked_down_to is not None
        assert page.next is not None
        page = await lists.page(filter_of(name="rare"), order=order, after=page.next)
        assert ([task.name for task in page.tasks], page.looked_at, page.next) == (
            ["rare"],
            None,
            None,
        )

    async def test_along_a_user(self, lists: TaskLists, db: Database) -> None:
        await self.fill(db, WINDOW_OF_KEY + 1, rare=WINDOW_OF_KEY + 1)
        page = await lists.page(filter_of(user="u", name="rare"))
        assert (page.tasks, page.looked_at) == ((), WINDOW_OF_KEY)
        page = await lists.page(filter_of(user="u", name="rare"), after=page.next)
        assert [task.name for task in page.tasks] == ["rare"]
        page = await lists.page(filter_of(user="u"))
        assert (len(page.tasks), page.looked_at) == (50, None)

    async def test_what_one_index_finds_waits_for_what_another_has_not_seen_yet(
        self, lists: TaskLists, db: Database
    ) -> None:
        await self.fill(db, WINDOW_OF_KEY + 1, rare=WINDOW_OF_KEY + 1, state="failed")
        old = await insert(db, name="rare", state="cancelled", created_at=NOW - timedelta(hours=9))
        pages = await walked(lists, filter_of(state="failed,cancelled", name="rare"), 5)
        assert [len(page.tasks) for page in pages] == [0, 2]
        assert pages[1].tasks[1].id == old

    async def test_along_the_ticks_of_a_schedule_whose_tasks_are_gone(
        self, lists: TaskLists, db: Database
    ) -> None:
        id_ = await insert(db)
        await db.execute_once(
            text(
                "INSERT INTO schedule (app, name, version, definition) VALUES ('a', 's', '', '{}')"
            ),
            {},
        )
        ticks = text("""
            INSERT INTO schedule_tick (app, name, tick, fate, task_id)
            SELECT 'a', 's', now() - n * interval '1 hour', 'fired',
                   CASE WHEN n = :last THEN CAST(:id AS uuid) ELSE gen_random_uuid() END
            FROM generate_series(1, CAST(:last AS int)) AS n
        """)
        await db.execute_once(ticks, {"last": WINDOW_OF_KEY + 1, "id": id_})
        pages = await walked(lists, filter_of(schedule="s"), 5)
        assert [page.looked_at for page in pages] == [WINDOW_OF_KEY, None]
        assert ids_of(pages) == [id_]

    async def test_among_those_that_are_not_due(self, lists: TaskLists, db: Database) -> None:
        await self.fill(db, WINDOW + 1, rare=0, state="scheduled")
        page = await lists.page(filter_of(state="scheduled"), limit=3)
        assert (len(page.tasks), page.looked_at, page.looked_down_to) == (3, WINDOW, None)
        page = await lists.page(filter_of(state="scheduled"), limit=3, after=page.next)
        assert len(page.tasks) == 3

    async def test_the_last_row_of_a_window_that_fits_is_there_once(
        self, lists: TaskLists, db: Database
    ) -> None:
        await self.fill(db, WINDOW_OF_KEY + 5, rare=WINDOW_OF_KEY)
        pages = await walked(lists, filter_of(user="u", name="rare"), 5)
        assert [task.name for page in pages for task in page.tasks] == ["rare"]


class TestArguments:
    async def test_they_are_compared_with_what_is_shown(
        self, lists: TaskLists, db: Database
    ) -> None:
        ids = [
            await insert(db, args=args, created_at=NOW - timedelta(seconds=n))
            for n, args in enumerate([
                '{"a": 1}', '{"a": "1"}', '{"a": 1.0}', '{"a": 12}', '{"b": {"a": true}}',
                '{"b.a": "ü\\u20ac"}', '{"a": [1, 2]}', '{"x": "password", "a": null}',
            ])
        ]  # fmt: skip

        async def found(key: str, value: str) -> list[int]:
            wanted = TaskFilter.read([(f"arg:{key}", value)])
            return [ids.index(id_) for id_ in ids_of(await walked(lists, wanted, 2))]

        assert await found("a", "1") == [0, 1]
        assert await found("a", "1.0") == [2]
        assert await found("b.a", "true") == [4]
        assert await found("a", "[1,2]") == [6]
        assert await found("a", "null") == [7]
        assert await found("c", "1") == []

    async def test_what_is_redacted_is_found_by_nothing(
        self, lists: TaskLists, db: Database
    ) -> None:
        await insert(db, args='{"a": {"api_key": "k"}}')
        with pytest.raises(InvalidFilter, match="is redacted"):
            await lists.page(TaskFilter.read([("arg:a.api_key", "k")]))
        assert not (await lists.page(TaskFilter.read([("arg:a", '{"api_key":"k"}')]))).tasks

    async def test_where_a_page_ends_does_not_tell_what_is_redacted(
        self, lists: TaskLists, db: Database
    ) -> None:
        for n in range(3):
            await insert(db, args=f'{{"a": "x{n}", "token": "hunter2"}}')
        for guess in ("hunter2", "hunter3"):
            page = await lists.page(TaskFilter.read([("arg:a", guess)]), limit=1)
            assert page == TaskPage(())

    async def test_what_comes_behind_many_that_only_look_like_it_is_found(
        self, lists: TaskLists, db: Database
    ) -> None:
        count = 2 * CANDIDATES + 10
        await db.execute_once(
            FILL, {"count": count, "rare": 0, "state": "succeeded", "dispatch": NOW}
        )
        oldest = "(SELECT min(CAST(id AS text)) FROM task)"
        await db.execute_once(
            text(
                f'UPDATE task SET args = \'{{"m": 1, "n": 2}}\' WHERE CAST(id AS text) = {oldest}'
            ),
            {},
        )
        (page,) = await walked(lists, TaskFilter.read([("arg:n", "2")]), 5)
        assert (len(page.tasks), page.looked_at) == (1, None)
        page = await lists.page(TaskFilter.read([("arg:n", "1")]), limit=5)
        assert (len(page.tasks), page.looked_at) == (5, None)
        await db.execute_once(text('UPDATE task SET args = \'{"n": "1 2"}\''), {})
        page = await lists.page(TaskFilter.read([("arg:n", "1")]), limit=5)
        assert page == TaskPage(())


async def test_a_limit_is_a_number_up_to_200(lists: TaskLists) -> None:
    for limit in (0, -1, 201):
        with pytest.raises(InvalidFilter, match="is not a number from 1 to 200"):
            await lists.page(TaskFilter(), limit=limit)
    with pytest.raises(InvalidFilter, match="after or before"):
        await lists.page(TaskFilter(), after="x", before="y")


async def test_what_is_read_for_a_question_writes_nothing_and_leaves_nothing_behind(
    db: Database,
) -> None:
    async with bounded_reading(db) as transaction:
        for name, value in (("enable_seqscan", "off"), ("statement_timeout", "5s")):
            (row,) = await transaction.execute(text(f"SHOW {name}"), {})
            assert row[0] == value
    with pytest.raises(Exception, match="statement timeout"):
        async with bounded_reading(db, longest=0.2) as transaction:
            await transaction.execute(text("SELECT pg_sleep(5)"), {})
    with pytest.raises(Exception, match="read-only transaction"):
        async with bounded_reading(db) as transaction:
            await transaction.execute(text("DELETE FROM task"), {})
    assert (await db.execute_once(text("SHOW enable_seqscan"), {})).scalar_one() == "on"
