"""Completions that are committed together: each guarded as if it were alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text

from uow import Database, TaskState, task
from uow.attempt.attempt import Attempt
from uow.attempt.delivery import Delivery, HeldJob
from uow.attempt.running import Held
from uow.db.attempts import Started
from uow.db.failures import PASSING
from uow.errors import ServerUnreachable
from uow.fast.group_commit import BATCH, FAILURES, Completion, GroupCommit
from uow.tasks.outcome import Completed
from uow.tasks.registry import Registry

PUT = text(
    "INSERT INTO task (id, name, state, attempt, run_at) "
    "SELECT id, 'x', 'running', 1, now() FROM unnest(CAST(:ids AS uuid[])) AS id"
)
FAIL = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF CAST(NEW.result AS text) = '"bad"' THEN {} END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fail BEFORE UPDATE ON task FOR EACH ROW EXECUTE FUNCTION fail()
"""
STATES = text("SELECT id, state, result FROM task WHERE id = ANY(:ids)")


class Group:
    """A group commit, and what it has said."""

    def __init__(self, db: Database, registry: Registry) -> None:
        @task("x", registry=registry)
        async def x(ctx: object) -> object: ...

        self.db = db
        settings: Any = SimpleNamespace(retention=60.0)
        self.runtime: Any = SimpleNamespace(db=db, registry=registry, settings=settings)
        self.settled: list[UUID] = []
        self.refused: list[tuple[UUID, Exception]] = []
        self.completions = GroupCommit(db, self._settle, self._refuse)

    def _settle(self, ours: Sequence[Completion], others: Sequence[Completion]) -> None:
        self.settled += [one.attempt.id for one in (*ours, *others)]

    async def _refuse(self, completion: Completion, error: Exception) -> None:
        self.refused.append((completion.attempt.id, error))

    async def put(self, count: int) -> list[UUID]:
        ids = [uuid4() for _ in range(count)]
        await self.db.execute_once(PUT, {"ids": ids})
        return ids

    def add(self, ids: Sequence[UUID], result: str = "1") -> None:
        for id_ in ids:
            held = Held(str(id_), "arq:queue", 0, b"", id_)
            delivery = Delivery("x", str(id_), id_, (), {}, 0, 0, 1)
            started = Started(id_, "x", "{}", 1, 0, None, 0, None, None, 0)
            attempt = Attempt(self.runtime, HeldJob({}, delivery, held), started)
            self.completions.add(
                Completion(attempt, Completed(result.encode(errors="surrogatepass")))
            )

    async def states(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        found = await self.db.execute_once(STATES.bindparams(), {"ids": list(ids)})
        return {row.id: row.state for row in found}


@pytest.fixture
def group(db: Database, registry: Registry) -> Group:
    return Group(db, registry)


async def test_more_than_a_batch_is_committed_and_everybody_is_told(group: Group) -> None:
    ids = await group.put(BATCH + 7)
    group.add(ids)
    await group.completions.run_once()
    assert set((await group.states(ids)).values()) == {TaskState.SUCCEEDED}
    assert sorted(group.settled) == sorted(ids)
    assert len(group.completions) == 0


async def test_one_bad_result_harms_nobody_else(group: Group) -> None:
    good, (bad,) = await group.put(20), await group.put(1)
    group.add(good[:11])
    group.add([bad], result="no JSON")
    group.add(good[11:])
    await group.completions.run_once()
    states = await group.states([*good, bad])
    assert states.pop(bad) == TaskState.RUNNING
    assert set(states.values()) == {TaskState.SUCCEEDED}
    assert [id_ for id_, _ in group.refused] == [bad]
    assert sorted(group.settled) == sorted(good)


async def test_what_others_have_settled_stays_as_it_is(group: Group) -> None:
    ours, (theirs,) = await group.put(3), await group.put(1)
    await group.db.execute_once(
        text("UPDATE task SET state = 'cancelled', settled_at = now() WHERE id = :id"),
        {"id": theirs},
    )
    group.add([*ours, theirs])
    await group.completions.run_once()
    assert (await group.states([theirs])) == {theirs: TaskState.CANCELLED}
    assert sorted(group.settled) == sorted([*ours, theirs])  # it is decided: only to be finished


async def test_two_batches_of_the_same_tasks_wait_for_each_other_and_never_deadlock(
    group: Group, registry: Registry, db: Database
) -> None:
    ids = await group.put(200)
    other = Group.__new__(Group)
    other.db, other.runtime, other.settled, other.refused = db, group.runtime, [], []
    other.completions = GroupCommit(db, other._settle, other._refuse)
    for _ in range(10):
        await db.execute_once(
            text("UPDATE task SET settled_at = NULL, state = 'running'").bindparams(), {}
        )
        group.add(ids)
        other.add(list(reversed(ids)))
        await asyncio.gather(group.completions.run_once(), other.completions.run_once())
    assert group.refused == other.refused == []


async def test_a_row_that_somebody_else_writes_to_at_that_moment_is_waited_for(
    group: Group, db: Database
) -> None:
    ids = await group.put(3)
    group.add(ids)
    async with db.engine.begin() as connection:
        await connection.execute(
            text("UPDATE task SET progress = '{}' WHERE id = :id"), {"id": ids[1]}
        )
        committing = asyncio.create_task(group.completions.run_once())
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        async with asyncio.timeout(5):
            while not (await db.execute_once(waits, {})).scalar_one():
                await asyncio.sleep(0.01)
    await committing
    assert set((await group.states(ids)).values()) == {TaskState.SUCCEEDED}


async def test_an_answer_that_was_lost_is_asked_for_by_repeating(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await group.put(5)
    group.add(ids)

    async def lose(*call: Any, **more: Any) -> None:
        monkeypatch.undo()
        await group.db.execute_once(*call, **more)
        raise ServerUnreachable("after it has done it")

    monkeypatch.setattr(group.db, "execute_once", lose)
    with pytest.raises(ServerUnreachable):
        await group.completions.run_once()
    assert len(group.completions) == 5
    await group.completions.run_once()
    assert sorted(group.settled) == sorted(ids)
    assert set((await group.states(ids)).values()) == {TaskState.SUCCEEDED}


@pytest.mark.parametrize("kind", [asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError])
async def test_a_time_limit_of_the_servers_is_nobodys_bad_result(
    group: Group, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    ids = await group.put(5)
    group.add(ids)

    async def cancelled(*_: Any, **__: Any) -> None:
        raise kind("by a time limit")

    with monkeypatch.context() as patch, pytest.raises(kind):
        patch.setattr(group.db, "execute_once", cancelled)
        await group.completions.run_once()
    assert group.refused == []
    await group.completions.run_once()
    assert set((await group.states(ids)).values()) == {TaskState.SUCCEEDED}


async def test_a_result_that_the_driver_cannot_write_harms_nobody_else(group: Group) -> None:
    good, (bad,) = await group.put(5), await group.put(1)
    group.add([bad], result='"\ud800"')
    group.add(good)
    await group.completions.run_once()
    assert [id_ for id_, _ in group.refused] == [bad]
    assert set((await group.states(good)).values()) == {TaskState.SUCCEEDED}


def fails_at(call: int, execute: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`execute`, which meets a server that is away at the call with this number."""
    calls = 0

    async def run(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise ServerUnreachable("in the middle of it")
        return await execute(*given, **more)

    return run


@pytest.mark.parametrize("call", range(2, 8))
async def test_an_outage_between_the_halves_repeats_nothing_that_was_done(
    call: int, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, (bad,) = await group.put(7), await group.put(1)
    group.add(good[:1])
    group.add([bad], result="no JSON")
    group.add(good[1:])
    with monkeypatch.context() as patch, pytest.raises(ServerUnreachable):
        patch.setattr(group.db, "execute_once", fails_at(call, group.db.execute_once))
        await group.completions.run_once()
        await group.completions.run_once()  # its last call may have been the last one needed
        raise ServerUnreachable
    await group.completions.run_once()
    assert sorted(group.settled) == sorted(good)
    assert [id_ for id_, _ in group.refused] == [bad]
    assert len(group.completions) == 0


@pytest.mark.parametrize(
    "how",
    [
        "RAISE EXCEPTION 'x' USING ERRCODE = '53200';",
        "RAISE EXCEPTION 'x' USING ERRCODE = '26000';",
        "RAISE EXCEPTION 'x' USING ERRCODE = '57014';",
        "PERFORM pg_terminate_backend(pg_backend_pid());",
    ],
)
async def test_what_looks_like_a_failing_server_each_time_is_its_offenders_own(
    how: str, group: Group
) -> None:
    await run_script(group.db, FAIL.format(how))
    good, (bad,) = await group.put(20), await group.put(1)
    group.add(good[:11])
    group.add([bad], result='"bad"')
    group.add(good[11:])
    for _ in range(FAILURES - 1):
        with pytest.raises(PASSING):
            await group.completions.run_once()
        assert (group.settled, group.refused) == ([], [])
    await group.completions.run_once()
    assert sorted(group.settled) == sorted(good)
    assert [id_ for id_, _ in group.refused] == [bad]
    assert set((await group.states(good)).values()) == {TaskState.SUCCEEDED}


@pytest.mark.parametrize("state", ["25006", "53100", "58030"])
async def test_what_hits_everybody_is_waited_for_however_long_it_lasts(
    state: str, group: Group
) -> None:
    await run_script(group.db, FAIL.format(f"RAISE EXCEPTION 'x' USING ERRCODE = '{state}';"))
    ids = await group.put(3)
    group.add(ids, result='"bad"')
    for _ in range(2 * FAILURES):
        with pytest.raises(PASSING):
            await group.completions.run_once()
    await run_script(group.db, "DROP TRIGGER fail ON task")
    await group.completions.run_once()
    assert sorted(group.settled) == sorted(ids)


async def test_failures_with_an_outage_or_a_success_between_them_are_not_in_a_row(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_script(group.db, FAIL.format("RAISE EXCEPTION 'x' USING ERRCODE = '53200';"))
    (bad,) = await group.put(1)
    group.add([bad], result='"bad"')

    async def away(*_: Any, **__: Any) -> None:
        raise ServerUnreachable("away")

    for _ in range(2):
        for _ in range(FAILURES - 1):
            with pytest.raises(PASSING):
                await group.completions.run_once()
        with monkeypatch.context() as patch, pytest.raises(ServerUnreachable):
            patch.setattr(group.db, "execute_once", away)
            await group.completions.run_once()
    assert group.refused == []


async def run_script(db: Database, script: str) -> None:
    async with db.engine.begin() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(script)
