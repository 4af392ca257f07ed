"""`users.import_csv`: every row once, whatever is in the file and whenever the process dies."""

import dataclasses
import os
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.conftest import Drain
from uow import Database, TaskClient, TaskFailed, TaskHandle, TaskState
from uow.db.models import Task
from uow.tasks.registry import Registry
from uow.tasks.retry import Backoff
from worker.errors import FileRefused
from worker.models import User
from worker.settings import WorkerAppSettings
from worker.tasks import user_file
from worker.tasks.user_file import BadLine, UserFile
from worker.tasks.user_import import ImportReport, import_csv
from worker.users import create_user, create_users, find_users

HEADER = "username,email\n"

NOT_UTF_8 = 'username: is not UTF-8: save the file as "CSV UTF-8"'


@pytest.fixture
def settings(settings: WorkerAppSettings) -> WorkerAppSettings:
    settings.storage_dir.mkdir()
    return settings


@pytest.fixture
def registry() -> Registry:
    """The task, with the pauses between its tries left out; nobody sends the welcome mails."""
    registry = Registry()
    policy = dataclasses.replace(import_csv.policy, backoff=Backoff(base=0, cap=0))
    registry.add(dataclasses.replace(import_csv, policy=policy))
    return registry


Import = Callable[..., Awaitable[TaskHandle[Any]]]


@pytest.fixture
def imported(settings: WorkerAppSettings, client: TaskClient, drain: Drain) -> Import:
    """Import a file with this content, however many tries that takes."""

    async def run(content: str | bytes, *, welcome: bool = False) -> TaskHandle[Any]:
        written = content.encode() if isinstance(content, str) else content
        (settings.storage_dir / "users.csv").write_bytes(written)
        handle = await client.enqueue(import_csv, path="users.csv", welcome=welcome)
        while not (await handle.status()).settled:
            await drain()
        return handle

    return run


async def names(db: Database) -> list[str]:
    async with db.get_session() as session:
        return list(await session.scalars(select(User.username).order_by(User.id)))


async def welcomes(db: Database) -> Counter[str]:
    """How many welcome tasks there are for each user."""
    async with db.get_session() as session:
        called = select(Task.args).where(Task.name == "users.send_welcome")
        ids = [arguments["user_id"] for arguments in await session.scalars(called)]
        users = {user.id: user.username for user in await session.scalars(select(User))}
    return Counter(users[user_id] for user_id in ids)


def rows(*usernames: str) -> str:
    return HEADER + "".join(f"{name},{name}@example.com\n" for name in usernames)


# -- what is in the file


@pytest.mark.parametrize(
    "content",
    [
        rows("ann", "bob"),
        rows("ann", "bob").replace("\n", "\r\n"),
        rows("ann", "bob").replace("\n", "\r"),
        rows("ann", "bob").rstrip("\n"),
        rows("ann", "bob").encode("utf-8-sig"),
        rows("ann", "bob").encode("utf-16"),
        rows("ann", "bob").encode("utf-16-le"),
        rows("ann", "bob").encode("utf-16-be"),
        rows("ann", "bob").replace(",", "\t").encode("utf-16"),
        rows("ann", "bob").replace(",", ";"),
        '"username";"E mail";"Email"\n"ann";;ann@example.com\nbob;;bob@example.com\n',
        "sep=,\r\n" + rows("ann", "bob"),
        '\ufeff"Sep=|"\n' + rows("ann", "bob").replace(",", "|"),
        rows("ann", "bob").replace("\n", "\n\n"),
        "Email , USERNAME\nann@example.com,ann\n bob@example.com , bob \n",
        'note,email,username\n"two\nlines, ""quoted""",ann@example.com,ann\n,bob@example.com,bob\n',
        b"note,email,username\n\xff,ann@example.com,ann\n\xfe,bob@example.com,bob\n",
    ],
    ids=["plain", "CRLF", "CR", "no end of line", "BOM", "UTF-16", "UTF-16-LE without BOM",
         "UTF-16-BE without BOM", "Excel's Unicode text", "semicolons", "quotes and semicolons",
         "sep=", "BOM and sep=", "empty lines", "any order and case", "other columns and quotes",
         "bytes in another column"],
)  # fmt: skip
def test_every_usual_kind_of_file_is_read(tmp_path: Path, content: str | bytes):
    written = content.encode() if isinstance(content, str) else content
    (tmp_path / "users.csv").write_bytes(written)
    file = UserFile.open(tmp_path, "users.csv")
    chunk = file.read_chunk()
    file.close()
    assert list(chunk.users.values()) == [("ann", "ann@example.com"), ("bob", "bob@example.com")]
    assert chunk.bad == []


async def test_each_row_becomes_a_user_and_without_welcome_nobody_is_welcomed(
    imported: Import, db: Database
):
    handle = await imported(rows("ann", "bob"))
    report = await handle.result(5)
    assert report.model_dump() == {
        "rows": 2, "created": 2, "existing": 0, "bad": 0, "bad_lines": [],
    }  # fmt: skip
    assert await names(db) == ["ann", "bob"]
    assert await welcomes(db) == {}


async def test_bad_rows_are_reported_with_their_lines_and_do_not_stop_the_rest(
    imported: Import, db: Database
):
    content = b"".join(
        [
            b"username,email,note\n",
            b"ann,ann@example.com,\n",
            b"no email,,\n",
            b",nobody@example.com,\n",
            b"bob,not an address,\n",
            b"short,short@example.com\n",
            b"long,long@example.com,,,\n",
            b"\n",
            b"latin\xe9,latin@example.com,\n",
            b"nul\x00,nul@example.com,\n",
            b'eve,eve@example.com,"two\nlines"\n',
            b"huge,huge@example.com," + b"x" * 200_000 + b"\n",
            b"zoe,zoe@example.com,\n",
            b'open,"open@example.com,\nlost,lost@example.com,\n',
        ]
    )
    report = await (await imported(content)).result(5)
    assert [(bad.line, bad.reason) for bad in report.bad_lines] == [
        (3, "email: is not an email address"),
        (4, "username: String should have at least 1 character"),
        (5, "email: is not an email address"),
        (6, "2 columns, but the header has 3"),
        (7, "5 columns, but the header has 3"),
        (9, NOT_UTF_8),
        (10, "username: holds a character that cannot be printed"),
        (13, "the row is longer than 65,536 characters"),
        (15, "2 columns, but the header has 3 (the row goes on to line 16: is a quote left open?)"),
    ]  # fmt: skip
    assert (report.rows, report.created, report.bad) == (12, 3, 9)
    assert await names(db) == ["ann", "eve", "zoe"]


def test_a_broken_character_of_utf_16_spoils_its_own_row_only(tmp_path: Path):
    before, after = rows("ann").encode("utf-16"), "ed,ed@x.org\nbob,bob@x.org\n".encode("utf-16-le")
    (tmp_path / "users.csv").write_bytes(before + b"\x00\xd8" + after + b"\xff")
    file = UserFile.open(tmp_path, "users.csv")
    chunk = file.read_chunk()
    file.close()
    assert [name for name, _ in chunk.users.values()] == ["ann", "bob"]
    assert [(bad.line, bad.reason) for bad in chunk.bad] == [
        (3, 'username: is not UTF-16: save the file as "CSV UTF-8"'),
        (5, "1 columns, but the header has 2"),
    ]


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"PK\x03\x04\x14", r"a ZIP archive, as workbooks of Excel \(.xlsx\) are"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"an old workbook of Excel \(.xls\)"),
        (b"\x1f\x8b\x08", r"compressed \(gzip\)"),
    ],
)
def test_what_is_no_csv_is_refused_with_a_word_on_what_it_is(
    tmp_path: Path, start: bytes, what: str
):
    (tmp_path / "users.csv").write_bytes(start + bytes(range(256)) * 20)
    with pytest.raises(
        FileRefused, match=f'the file is {what}, and no CSV: save it as "CSV UTF-8"'
    ):
        UserFile.open(tmp_path, "users.csv")


async def test_names_that_look_the_same_are_the_same_however_they_were_typed(
    imported: Import, db: Database
):
    await imported(HEADER + "caf\u00e9,caf\u00e9@example.com\n")
    again = HEADER + "cafe\u0301,cafe\u0301@example.com\ncafe\u0301,other@example.com\n"
    report = await (await imported(again)).result(5)
    assert (report.created, report.existing, report.bad) == (0, 1, 1)
    assert await names(db) == ["caf\u00e9"]


def test_all_bad_rows_are_counted_but_only_the_first_hundred_shown():
    report = ImportReport()
    for first in (2, 62, 122):
        report.add_bad([BadLine(line=first + n, reason="bad") for n in range(60)])
    assert report.bad == 180
    assert [bad.line for bad in report.bad_lines] == list(range(2, 102))


async def test_a_row_that_is_there_already_is_no_error_but_one_that_is_taken_is(
    imported: Import, db: Database
):
    async with db.get_session() as session:
        await create_user(session, username="ann", email="ann@example.com")
    content = rows("ann", "bob", "bob") + "ann,other@example.com\nother,bob@example.com\n"
    report = await (await imported(content, welcome=True)).result(5)
    assert (report.rows, report.created, report.existing, report.bad) == (5, 1, 2, 2)
    taken = "another user has that username or that email"
    assert [(bad.line, bad.reason) for bad in report.bad_lines] == [(5, taken), (6, taken)]
    assert await welcomes(db) == {"bob": 1}


async def test_of_rows_that_take_each_others_names_the_first_wins(db: Database):
    given = [("ann", "z@x.org"), ("ann", "a@x.org"), ("eve", "z@x.org"), ("bob", "b@x.org")]
    async with db.get_session() as session:
        created = await create_users(session, given)
        assert sorted(created) == [("ann", "z@x.org"), ("bob", "b@x.org")]
        assert await find_users(session, given) == set(created)


OPEN_QUOTE = HEADER + '"'
LAST_ROW = "x" * 2_000_000 + "\nann,ann@example.com\n"


@pytest.mark.parametrize(
    "content",
    [
        "username,email,note\n" + f"ann,ann@example.com,{'x' * 5000}\n" * 1000,
        OPEN_QUOTE + LAST_ROW,
        OPEN_QUOTE + "\n" * 70_000 + LAST_ROW,
        OPEN_QUOTE + '"\n",' * 20_000 + LAST_ROW,
    ],
    ids=["many rows", "one long line", "one field of many lines", "many fields of two lines"],
)
def test_only_a_chunk_is_in_memory_however_large_the_file_and_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
):
    (tmp_path / "users.csv").write_text(content)
    monkeypatch.setattr(user_file, "CHUNK_ROWS", 100)
    users: list[tuple[str, str]] = []
    tracemalloc.start()
    try:
        file = UserFile.open(tmp_path, "users.csv")
        while chunk := file.read_chunk():
            users = list(chunk.users.values())
        file.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert users[-1] == ("ann", "ann@example.com")
    assert peak < 1_500_000


# -- whenever the process dies


@pytest.fixture
async def crash_at_row_7(db: Database) -> None:
    """The first time that a user called row7 is inserted, the statement fails."""
    async with db.get_session() as session:
        await session.execute(text("CREATE SEQUENCE inserted"))  # which no rollback turns back
        await session.execute(
            text(
                """
                CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF nextval('inserted') = 1 THEN RAISE EXCEPTION 'crashed'; END IF;
                    RETURN new;
                END $$
                """
            )
        )
        await session.execute(
            text(
                "CREATE TRIGGER crash AFTER INSERT ON users FOR EACH ROW "
                "WHEN (new.username = 'row7') EXECUTE FUNCTION crash()"
            )
        )


async def test_an_import_that_crashes_between_chunks_gives_one_user_and_one_welcome_per_row(
    imported: Import,
    client: TaskClient,
    db: Database,
    crash_at_row_7: None,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(user_file, "CHUNK_ROWS", 3)
    all_rows = [f"row{n}" for n in range(1, 11)]
    handle = await imported(rows(*all_rows), welcome=True)
    report = await handle.result(5)
    assert (report.rows, report.created, report.existing) == (10, 4, 6)
    assert sorted(await names(db)) == sorted(all_rows)
    assert await welcomes(db) == dict.fromkeys(all_rows, 1)
    view = await client.get(handle.id)
    assert view is not None
    assert (view.attempt, view.tries) == (2, 1)


async def test_an_import_that_is_repeated_creates_and_welcomes_nobody_again(
    imported: Import, db: Database
):
    await imported(rows("ann", "bob"), welcome=True)
    again = await imported(rows("ann", "bob", "eve"), welcome=True)
    report = await again.result(5)
    assert (report.created, report.existing) == (1, 2)
    assert await welcomes(db) == {"ann": 1, "bob": 1, "eve": 1}


# -- progress


async def test_progress_shows_while_the_import_goes_on(
    settings: WorkerAppSettings,
    registry: Registry,
    client: TaskClient,
    drain: Drain,
    crash_at_row_7: None,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(user_file, "CHUNK_ROWS", 3)
    registry.add(import_csv)  # which pauses between its tries
    (settings.storage_dir / "users.csv").write_text(rows(*(f"row{n}" for n in range(1, 8))))
    handle = await client.enqueue(import_csv, path="users.csv")
    await drain()
    view = await client.get(handle.id)
    assert view is not None
    assert view.state is TaskState.RETRYING
    assert view.progress == {"rows": 6, "created": 6, "existing": 0, "bad": 0, "percent": 100}


# -- which file


ESCAPES = ["../users.csv", "a/../../users.csv", "/etc/passwd", "link", "folder/users.csv"]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage folder with ways out of it."""
    storage = tmp_path / "inside"
    storage.mkdir()
    (tmp_path / "users.csv").write_text(rows("ann"))
    (storage / "link").symlink_to(tmp_path / "users.csv")
    (storage / "folder").symlink_to(tmp_path)
    (storage / "loop").symlink_to(storage / "loop")
    (storage / "a").mkdir()
    os.mkfifo(storage / "pipe")
    return storage


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leads_out_of_the_storage_folder_is_refused(storage: Path, path: str):
    with pytest.raises(FileRefused, match="leads out of WORKER_STORAGE_DIR"):
        UserFile.open(storage, path)


@pytest.mark.parametrize("path", ["", "a", "missing.csv", "pipe", "nul\x00", "loop", "x" * 5000])
def test_a_path_that_leads_to_no_file_is_refused(storage: Path, path: str):
    with pytest.raises(FileRefused, match=r"there is no file|is not a path"):
        UserFile.open(storage, path)


def test_paths_that_stay_inside_are_followed(storage: Path):
    (storage / "a" / "users.csv").write_text(rows("ann"))
    (storage / "near").symlink_to(storage / "a")
    for path in ("a/users.csv", "a/../a/users.csv", "near/users.csv", str(storage / "a/users.csv")):
        file = UserFile.open(storage, path)
        assert list(file.read_chunk().users.values()) == [("ann", "ann@example.com")]
        file.close()


@pytest.mark.parametrize(
    "content",
    ["", "\n", "username\nann\n", "username:email\n", "email,username,Email\n", "x" * 100_000],
    ids=["empty", "empty line", "a column missing", "colons", "a column twice", "endless"],
)
def test_a_file_whose_header_does_not_name_both_columns_once_is_refused(
    tmp_path: Path, content: str
):
    (tmp_path / "users.csv").write_text(content)
    with pytest.raises(FileRefused, match=r"header|first line must name the columns"):
        UserFile.open(tmp_path, "users.csv")


async def test_a_file_that_is_refused_is_a_final_failure(client: TaskClient, drain: Drain):
    handle = await client.enqueue(import_csv, path="../users.csv")
    await drain()
    with pytest.raises(TaskFailed, match="FileRefused: '../users.csv' leads out of"):
        await handle.result(5)
    view = await client.get(handle.id)
    assert view is not None
    assert view.tries == 1
