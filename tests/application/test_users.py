"""`users.create` and `users.deactivate_stale`."""

import asyncio
from datetime import timedelta
from typing import Any, TypedDict

import pytest
from pydantic import TypeAdapter
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from tests.conftest import Drain
from uow import Database, TaskClient, TaskFailed
from uow.clock import utcnow
from uow.db.models import Task
from uow.errors import InvalidArguments
from uow.tasks.registry import Registry, default_registry
from worker.errors import UserTaken
from worker.models import User
from worker.settings import WorkerAppSettings
from worker.tasks import users
from worker.tasks.users import create, deactivate_stale
from worker.users import Email, Username, create_user


class Given(TypedDict):
    """What a user is made of."""

    username: str
    email: str


ANN: Given = {"username": "ann", "email": "ann@example.com"}


@pytest.fixture
def settings(settings: WorkerAppSettings) -> WorkerAppSettings:
    return settings.model_copy(update={"stale_user_days": 30})


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.add(create)
    registry.add(deactivate_stale)
    return registry


async def tasks_called(db: Database, name: str) -> list[Task]:
    async with db.get_session() as session:
        return list(await session.scalars(select(Task).where(Task.name == name)))


async def stored(db: Database) -> list[User]:
    async with db.get_session() as session:
        return list(await session.scalars(select(User).order_by(User.id)))


def test_importing_the_package_registers_every_task() -> None:
    assert {
        "users.create",
        "users.deactivate_stale",
        "users.export_data",
        "users.import_csv",
        "users.send_welcome",
        "webhooks.deliver",
    } <= set(default_registry.names)


# -- users.create


async def test_a_user_is_created_and_its_id_is_the_result(
    client: TaskClient, drain: Drain, db: Database
) -> None:
    handle = await client.enqueue(create, **ANN)
    await drain()
    [user] = await stored(db)
    assert await handle.result(5) == user.id
    assert (user.username, user.email, user.is_active) == ("ann", "ann@example.com", True)
    assert user.welcomed_at is None
    assert await tasks_called(db, "users.send_welcome") == []


async def test_with_welcome_the_mail_is_queued_for_the_new_user(
    client: TaskClient, drain: Drain, db: Database
) -> None:
    handle = await client.enqueue(create, **ANN, welcome=True)
    await drain()
    user_id = await handle.result(5)
    [welcome] = await tasks_called(db, "users.send_welcome")
    assert (welcome.args, welcome.user_id) == ({"user_id": user_id}, str(user_id))


@pytest.mark.parametrize(
    ("username", "email", "message"),
    [
        ("ann", "other@example.com", "the username 'ann' is taken"),
        ("other", "ann@example.com", "the email 'ann@example.com' is taken"),
    ],
)
async def test_a_taken_user_is_a_final_failure_that_says_what_is_taken(
    client: TaskClient, drain: Drain, db: Database, username: str, email: str, message: str
) -> None:
    async with db.get_session() as session:
        await create_user(session, **ANN)
    handle = await client.enqueue(create, username=username, email=email, welcome=True)
    await drain()
    with pytest.raises(TaskFailed) as failure:
        await handle.result(5)
    assert (failure.value.error_type, failure.value.message) == ("UserTaken", message)
    view = await client.get(handle.id)
    assert view is not None
    assert (view.tries, len(view.errors)) == (1, 1)
    assert await tasks_called(db, "users.send_welcome") == []


async def test_a_taken_user_leaves_the_callers_transaction_usable(db: Database) -> None:
    async with db.get_session() as session:
        first = await create_user(session, **ANN)
        with pytest.raises(UserTaken):
            await create_user(session, username="ann", email="x@example.com")
        second = await create_user(session, username="bob", email="bob@example.com")
    assert [user.id for user in await stored(db)] == [first.id, second.id]


async def test_of_two_users_who_want_the_same_name_at_once_one_gets_it(db: Database) -> None:
    first_has_it, second_waits = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with db.get_session() as session:
            await create_user(session, **ANN)
            first_has_it.set()
            await second_waits.wait()

    async def second() -> None:
        await first_has_it.wait()
        async with db.get_session() as session:
            asyncio.get_running_loop().call_soon(second_waits.set)
            with pytest.raises(UserTaken, match="username 'ann'"):
                await create_user(session, **ANN)

    await asyncio.gather(first(), second())
    assert len(await stored(db)) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"username": ""},
        {"username": "   "},
        {"username": "x" * 65},
        {"username": "nul\x00"},
        {"username": "tab\t!"},
        {"username": "right-to-left\u202e"},
        {"email": "ann"},
        {"email": "ann@"},
        {"email": "ann@localhost"},
        {"email": "@example.com"},
        {"email": "a..b@example.com"},
        {"email": "ann@10.0.0.1"},
        {"email": "ann@example.com\r\nBcc: all@example.com"},
        {"email": "ann@example.com, bob@example.com"},
        {"email": "<ann@example.com>"},
        {"email": "a" * 65 + "@example.com"},
        {"email": "ann@" + "example." * 31 + "com"},
    ],
)
async def test_what_is_no_username_or_no_email_is_refused_when_it_is_enqueued(
    given: dict[str, Any],
) -> None:
    [field] = given
    async with AsyncSession() as session:  # bound to nothing: a statement would fail
        with pytest.raises(InvalidArguments, match=f"users.create: {field}: "):
            await create.enqueue(session, **{**ANN, **given})


def test_spaces_around_both_and_the_case_of_the_domain_do_not_matter() -> None:
    assert TypeAdapter(Username).validate_python(" José ") == "José"
    assert TypeAdapter(Email).validate_python(" Ann@EXAMPLE.com ") == "Ann@example.com"


# -- users.deactivate_stale


async def add_users(db: Database, **ages: tuple[int, int | None]) -> None:
    """Users by name, with the days since they were created and since they were seen."""

    def ago(days: int | None) -> Any:
        return None if days is None else utcnow() - timedelta(days=days)

    async with db.get_session() as session:
        session.add_all(
            User(
                username=name,
                email=f"{name}@example.com",
                created_at=ago(created),
                last_seen_at=ago(seen),
            )
            for name, (created, seen) in ages.items()
        )


async def active(db: Database) -> list[str]:
    return [user.username for user in await stored(db) if user.is_active]


async def test_users_who_were_not_seen_for_long_are_deactivated(
    client: TaskClient, drain: Drain, db: Database
) -> None:
    await add_users(
        db, new=(1, None), forgotten=(31, None), regular=(400, 29), gone=(400, 31), quiet=(29, None)
    )
    handle = await client.enqueue(deactivate_stale)
    await drain()
    assert await handle.result(5) == 2
    assert await active(db) == ["new", "regular", "quiet"]


async def test_stale_users_are_deactivated_in_batches_and_counted_once(
    client: TaskClient, drain: Drain, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "USERS_PER_BATCH", 2)
    await add_users(db, **{f"user{n}": (100, None) for n in range(5)})
    async with db.get_session() as session:
        await session.execute(update(User).where(User.username == "user3").values(is_active=False))
    first = await client.enqueue(deactivate_stale)
    await drain()
    second = await client.enqueue(deactivate_stale)
    await drain()
    assert (await first.result(5), await second.result(5)) == (4, 0)
    assert await active(db) == []


async def test_a_user_who_is_being_changed_is_left_alone(
    client: TaskClient, drain: Drain, db: Database
) -> None:
    await add_users(db, visiting=(100, None), gone=(100, None))
    handle = await client.enqueue(deactivate_stale)
    async with db.get_session() as session:
        visit = update(User).where(User.username == "visiting").values(last_seen_at=func.now())
        await session.execute(visit)
        await drain()
    assert await handle.result(5) == 1
    assert await active(db) == ["visiting"]
