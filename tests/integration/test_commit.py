"""The commit of a unit of work: its completion and the COMMIT are one message."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from uow import Database
from uow.attempt.unit_of_work import UnitOfWork
from uow.broker import codec
from uow.db import interventions
from uow.db.attempts import Guard
from uow.db.outcomes import succeed

PUT = text("INSERT INTO task (id, name, state, attempt) VALUES (:id, 'x', 'running', 1)")

DIVIDING = (
    """
    CREATE FUNCTION divide() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN PERFORM 1 / 0; RETURN NULL; END'
    """,
    """
    CREATE CONSTRAINT TRIGGER divide AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION divide()
    """,
)

EFFECT = text("INSERT INTO effect VALUES ('done')")


@pytest.fixture(autouse=True)
async def effects(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})


async def put(db: Database) -> UUID:
    id_ = uuid4()
    await db.execute_once(PUT, {"id": id_})
    return id_


async def commit(db: Database, id_: UUID, result: object = None) -> bool:
    work = UnitOfWork(db)
    async with work.get_session() as session:
        await session.execute(EFFECT)
    completion = succeed(id_, codec.to_bytes(result).decode(), 60.0)
    try:
        return await work.commit_with(completion, id_, 1) is Guard.HELD
    finally:
        await work.rollback()


async def count(db: Database) -> int:
    return int((await db.execute_once(text("SELECT count(*) FROM effect"), {})).scalar_one())


async def result_of(db: Database, id_: UUID) -> object:
    statement = text("SELECT CAST(result AS text) FROM task WHERE id = :id")
    return codec.from_bytes((await db.execute_once(statement, {"id": id_})).scalar_one().encode())


@pytest.mark.parametrize(
    "result",
    [
        None,
        1.5,
        "it's",
        "\\'; DROP TABLE task; --",
        "$1 ${2} $$",
        {"ä": ["€", "\n", "🙂"]},
        "x" * 300_000,
    ],
    ids=["nothing", "number", "quote", "sql", "dollars", "not-ascii", "long"],
)
async def test_a_result_of_any_kind_is_written_as_it_is(db: Database, result: object) -> None:
    for id_ in (await put(db), await put(db)):  # planned, and planned before
        assert await commit(db, id_, result) is True
        assert await result_of(db, id_) == result
    assert await count(db) == 2


async def test_a_settled_task_takes_nothing_of_the_attempt_and_the_next_commit_is_well(
    db: Database,
) -> None:
    settled, missing = await put(db), uuid4()
    await interventions.cancel(db, settled, 60.0)
    assert await commit(db, settled) is False
    assert await commit(db, missing) is False
    assert await count(db) == 0
    assert await commit(db, await put(db)) is True
    assert await count(db) == 1


async def test_a_division_by_zero_of_a_deferred_trigger_is_an_error_and_no_lost_guard(
    db: Database,
) -> None:
    async with db.engine.begin() as connection:
        for statement in DIVIDING:
            await connection.execute(text(statement))
    id_ = await put(db)
    with pytest.raises(DBAPIError, match="division by zero"):
        await commit(db, id_)
    assert await count(db) == 0
    await db.execute_once(text("DROP TRIGGER divide ON effect"), {})
    assert await commit(db, id_) is True
    assert await count(db) == 1


async def test_a_unit_of_work_that_joined_without_a_statement_completes_all_the_same(
    db: Database,
) -> None:
    id_, work = await put(db), UnitOfWork(db)
    async with work.get_session() as session:
        await session.connection()
    assert await work.commit_with(succeed(id_, "7", 60.0), id_, 1) is Guard.HELD
    assert await result_of(db, id_) == 7
