"""`maintenance.prune_tasks`, and when tasks run by themselves."""

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from uow import Database, TaskClient
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.errors import SettingsError
from uow.services.pruning import BATCH
from uow.tasks.registry import Registry
from worker.settings import WorkerAppSettings
from worker.tasks.maintenance import prune_tasks
from worker.tasks.schedules import schedules_of_settings


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.add(prune_tasks)
    return registry


async def test_prune_tasks_removes_in_batches_what_is_kept_no_longer(
    db: Database, redis: RedisClient, client: TaskClient, drain: Drain
) -> None:
    made = (
        "INSERT INTO task (name, state, settled_at, expires_at) "
        "SELECT 'old', 'succeeded', now(), now() + CAST(:kept AS interval) "
        "FROM generate_series(1, CAST(:n AS integer)) RETURNING id"
    )
    for kept, n in (("-1 s", BATCH + 5), ("1 hour", 3)):
        await db.execute_once(text(made.replace(":kept", f"'{kept}'")), {"n": n})
    in_redis = await db.execute_once(text("SELECT id FROM task WHERE expires_at < now()"), {})
    await redis.set(keys.job(str(in_redis.scalars().first())), b"x")
    handle = await client.enqueue(prune_tasks)
    await drain()
    left = await db.execute_once(text("SELECT count(*) FROM task WHERE name = 'old'"), {})
    assert left.scalar_one() == 4  # one is still in Redis
    assert await handle.result(5) <= BATCH + 4  # the worker's leader prunes, too


def test_the_schedules_are_off_unless_a_setting_says_when(
    settings: WorkerAppSettings,
) -> None:
    assert schedules_of_settings(settings) == []
    on = {"prune_schedule": "@daily", "stale_users_schedule": "0 3 * * *",
          "schedule_timezone": "Asia/Tokyo"}  # fmt: skip
    made = schedules_of_settings(settings.model_copy(update=on))
    assert [one.name for one in made] == ["maintenance.prune_tasks", "users.deactivate_stale"]
    assert {one.definition("q").timezone for one in made} == {"Asia/Tokyo"}


@pytest.mark.parametrize("wrong", [{"prune_schedule": "daily"}, {"schedule_timezone": "Mars"}])
def test_a_wrong_setting_is_named(settings: WorkerAppSettings, wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="WORKER_PRUNE_SCHEDULE: schedule maintenance"):
        schedules_of_settings(settings.model_copy(update={"prune_schedule": "@daily", **wrong}))
