"""`users.export_data`: a copy of everything about a user."""

import contextlib
import csv
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Drain
from uow import Database, TaskClient, TaskFailed, TaskHandle
from uow.tasks.registry import Registry
from worker.settings import WorkerAppSettings
from worker.tasks.archive import Record, Records, as_csv, write_archive
from worker.tasks.user_export import TASKS_AT_ONCE, export_data
from worker.tasks.users import send_welcome
from worker.users import create_user


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.add(export_data)
    return registry


@pytest.fixture
async def ann(db: Database) -> int:
    async with db.get_session() as session:
        return (await create_user(session, username="=cmd|'/C calc'!A0", email="a@x.org")).id


async def finished(client: TaskClient, drain: Drain, user_id: int) -> TaskHandle[Any]:
    handle = await client.enqueue(export_data.options(user_id=user_id), user_id=user_id)
    await drain()
    return handle


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


async def test_an_export_holds_the_profile_and_the_users_own_tasks(
    client: TaskClient, drain: Drain, settings: WorkerAppSettings, ann: int
):
    own = await client.enqueue(send_welcome.options(user_id=ann, delay=3600), user_id=ann)
    await client.enqueue(send_welcome.options(user_id=ann + 1, delay=3600), user_id=ann)
    export = await finished(client, drain, ann)
    path = await export.result(5)
    with zipfile.ZipFile(settings.storage_dir / path) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    assert sorted(files) == ["profile.csv", "profile.json", "tasks.csv", "tasks.json"]

    profile = json.loads(files["profile.json"])
    assert (profile["id"], profile["username"], profile["email"]) == (
        ann,
        "=cmd|'/C calc'!A0",
        "a@x.org",
    )
    assert profile["welcomed_at"] is None
    [row] = read_csv(files["profile.csv"])
    assert (row["id"], row["username"]) == (str(ann), "'=cmd|'/C calc'!A0")

    tasks = json.loads(files["tasks.json"])
    assert [(task["id"], task["name"]) for task in tasks] == [
        (str(own.id), "users.send_welcome"),
        (str(export.id), "users.export_data"),
    ]
    assert tasks[0]["args"] == {"user_id": ann}
    rows = read_csv(files["tasks.csv"])
    assert [row["id"] for row in rows] == [task["id"] for task in tasks]
    assert json.loads(rows[0]["args"]) == {"user_id": ann}


async def test_only_its_owner_can_read_an_export_and_nothing_else_is_left(
    client: TaskClient, drain: Drain, settings: WorkerAppSettings, ann: int
):
    path = await (await finished(client, drain, ann)).result(5)
    exports = settings.storage_dir / "exports"
    assert [file.relative_to(settings.storage_dir).as_posix() for file in exports.iterdir()] == [
        path
    ]
    assert (settings.storage_dir / path).stat().st_mode & 0o777 == 0o600


async def test_an_export_of_an_unknown_user_is_a_final_failure(
    client: TaskClient, drain: Drain, settings: WorkerAppSettings, ann: int
):
    handle = await finished(client, drain, ann + 1)
    with pytest.raises(TaskFailed, match=f"UserNotFound: there is no user {ann + 1}"):
        await handle.result(5)
    view = await client.get(handle.id)
    assert view is not None
    assert view.tries == 1
    assert not settings.storage_dir.exists()


async def test_an_exports_folder_that_leads_elsewhere_is_refused(
    client: TaskClient, drain: Drain, settings: WorkerAppSettings, ann: int, tmp_path: Path
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings.storage_dir.mkdir()
    (settings.storage_dir / "exports").symlink_to(elsewhere)
    handle = await finished(client, drain, ann)
    with pytest.raises(TaskFailed, match="leads out of WORKER_STORAGE_DIR"):
        await handle.result(5)
    assert list(elsewhere.iterdir()) == []


def test_an_archive_that_cannot_be_written_leaves_the_old_one(tmp_path: Path):
    target = tmp_path / "user.zip"
    with contextlib.closing(Records(tmp_path)) as tasks:
        write_archive(target, {"id": 1}, tasks)
    before = target.read_bytes()
    with pytest.raises(ValueError, match="closed file"):
        write_archive(target, {"id": 2}, tasks)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


async def test_an_export_has_few_of_its_tasks_in_memory_at_once(
    client: TaskClient,
    drain: Drain,
    settings: WorkerAppSettings,
    ann: int,
    monkeypatch: pytest.MonkeyPatch,
):
    added: list[int] = []

    def add(self: Records, records: Sequence[Record]) -> None:
        added.append(len(records))
        original(self, records)

    original = Records.add
    monkeypatch.setattr(Records, "add", add)
    later = send_welcome.options(user_id=ann, delay=3600)
    many = [{"user_id": number} for number in range(1, 2 * TASKS_AT_ONCE + 1)]
    await client.enqueue_many(later, many)
    path = await (await finished(client, drain, ann)).result(5)
    assert added == [TASKS_AT_ONCE, TASKS_AT_ONCE, 1]
    with zipfile.ZipFile(settings.storage_dir / path) as archive:
        tasks = json.loads(archive.read("tasks.json"))
        rows = read_csv(archive.read("tasks.csv"))
    assert [row["id"] for row in rows] == [task["id"] for task in tasks]
    assert len({task["id"] for task in tasks}) == len(many) + 1
    assert sorted(task["args"]["user_id"] for task in tasks) == sorted(
        [*range(1, len(many) + 1), ann]
    )


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("ann=1", "ann=1"),
        (-1, "-1"),
        (None, ""),
        (True, "True"),
        ({"a": "=1"}, '{"a":"=1"}'),
        ([-1], "[-1]"),
    ],
)
def test_no_cell_is_a_formula(value: object, cell: str):
    [row] = read_csv(as_csv([{"value": value, "other": 1}]).encode())
    assert row["value"] == cell
