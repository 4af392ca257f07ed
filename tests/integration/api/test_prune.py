"""Pruning over HTTP: a dry run, bounds, its audit row; by admins alone."""

import httpx
import pytest
from sqlalchemy import text

from tests.integration.api.conftest import assert_problem, one
from tests.integration.api.test_acts import audit_of
from tests.integration.test_interventions import put
from uow import Database, TaskState
from uow.acts import pruning
from uow.api.roles import Role
from uow.api.routers import prune as routes
from uow.api.routes import ROLES
from uow.broker import keys
from uow.broker.redis import RedisClient

PRUNE = "/api/prune"


async def put_expired(db: Database, count: int) -> None:
    for _ in range(count):
        await put(db)
    expire = "UPDATE task SET expires_at = now() - interval '1 s' WHERE settled_at IS NOT NULL"
    await db.execute_once(text(expire), {})


async def left(db: Database) -> int:
    return int(await one(db, "SELECT count(*) FROM task"))


async def test_a_dry_run_says_what_pruning_removes_and_changes_nothing(
    api: httpx.AsyncClient, db: Database
) -> None:
    await put_expired(db, 3)
    await put(db, TaskState.QUEUED)
    response = await api.post(PRUNE, json={"dry_run": True})
    assert (response.status_code, response.json()) == (
        200,
        {"dry_run": True, "tasks": 3, "more": False},
    )
    assert (await left(db), await audit_of(api)) == (4, [])
    response = await api.post(PRUNE, json={"reason": "the disk is full"})
    assert response.json() == {"dry_run": False, "tasks": 3, "more": False}
    assert await left(db) == 1
    (entry,) = await audit_of(api)
    assert (entry["what"], entry["reason"], entry["counts"]["done"]) == (
        "prune", "the disk is full", 3,
    )  # fmt: skip
    assert (await api.post(PRUNE)).json() == {"dry_run": False, "tasks": 0, "more": False}


async def test_it_ends_in_time_and_says_that_there_is_more(
    api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    monkeypatch.setattr(pruning, "COUNTED", 4)
    await put_expired(db, 5)
    found = (await api.post(PRUNE, json={"dry_run": True})).json()
    assert (found["tasks"], found["more"]) == (4, True)
    monkeypatch.setattr(routes, "LONGEST_SECONDS", 0.0)
    assert (await api.post(PRUNE)).json() == {"dry_run": False, "tasks": 0, "more": True}
    assert await left(db) == 5
    monkeypatch.setattr(routes, "LONGEST_SECONDS", 60.0)
    assert (await api.post(PRUNE)).json() == {"dry_run": False, "tasks": 5, "more": False}


async def test_what_may_be_in_redis_is_neither_counted_nor_removed(
    api: httpx.AsyncClient, db: Database, redis: RedisClient
) -> None:
    await put_expired(db, 2)
    kept = await one(db, "SELECT id FROM task LIMIT 1")
    await redis.set(keys.job(str(kept)), b"x")
    assert (await api.post(PRUNE, json={"dry_run": True})).json()["tasks"] == 1
    assert (await api.post(PRUNE)).json()["tasks"] == 1
    assert await one(db, "SELECT id FROM task") == kept


async def test_asked_again_with_its_key_it_answers_the_same_and_removes_nothing(
    api: httpx.AsyncClient, db: Database
) -> None:
    headers = {"Idempotency-Key": "tonight"}
    await put_expired(db, 2)
    first = await api.post(PRUNE, headers=headers)
    await put_expired(db, 1)
    again = await api.post(PRUNE, headers=headers)
    assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
    assert await left(db) == 1
    assert_problem(await api.post(PRUNE, json={"dry_run": True}, headers=headers), 422)


def test_it_is_for_admins() -> None:
    assert ROLES["POST /api/prune"] is Role.ADMIN
