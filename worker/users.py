"""Users: what a valid one is, and the queries.

Each function works in the caller's transaction and leaves it usable, whatever it raises.
"""

import re
import unicodedata
from collections.abc import Collection
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from sqlalchemy import TableValuedAlias, Text, and_, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from worker.errors import UserNotFound, UserTaken
from worker.models import User

# Not RFC 5322, only what keeps a typo out and a mail header whole.
_EMAIL = re.compile(
    r"""(?=.{1,64}@)                            # the part before the @, RFC 5321
        [^\s@.,:;<>()\[\]\\"]+(\.[^\s@.,:;<>()\[\]\\"]+)*
        @([\w-]{1,63}\.)+[^\W\d_][\w-]{1,62}    # the last label is no number""",
    re.VERBOSE,
)


def _composed(value: object) -> object:
    """In NFC: an é is one letter, whether it was typed as one or as an e and an accent."""
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


def _is_printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds a character that cannot be printed")
    return value


def _is_email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise ValueError("is not an email address")
    name, _, domain = value.rpartition("@")
    return f"{name}@{domain.lower()}"


Username = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=64),
    AfterValidator(_is_printable),
    BeforeValidator(_composed),  # goes before the others
]
"""1 to 64 printable characters, in NFC, so that what looks the same is the same."""

Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    AfterValidator(_is_printable),
    AfterValidator(_is_email),
    BeforeValidator(_composed),
]
"""Looks like an email address; the domain is lowered, because DNS does not tell cases apart."""

UserId = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""What a `bigint` identity can be."""


UserKey = tuple[str, str]
"""A user's username and email."""


async def create_user(session: AsyncSession, *, username: str, email: str) -> User:
    """Insert a user; it exists when the caller commits.

    Args:
        session: Whose transaction it is; it goes on when the user is taken.
        username: A valid `Username`.
        email: A valid `Email`.

    Raises:
        UserTaken: Another user has that username or that email; says which.
    """
    new = insert(User).values(username=username, email=email).on_conflict_do_nothing()
    while True:
        user: User | None = await session.scalar(new.returning(User))
        if user is not None:
            return user
        await _refuse_taken(session, username, email)
        # The other user was deleted between the two statements: the name is free.


async def get_user(session: AsyncSession, user_id: int) -> User | None:
    """The user with that id (a valid `UserId`); None: there is none."""
    return await session.get(User, user_id)


async def require_user(session: AsyncSession, user_id: int) -> User:
    """As `get_user`.

    Raises:
        UserNotFound: There is none.
    """
    user = await get_user(session, user_id)
    if user is None:
        raise UserNotFound(f"there is no user {user_id}")
    return user


async def create_users(session: AsyncSession, users: Collection[UserKey]) -> dict[UserKey, int]:
    """Insert those of `users` that are not taken, in one statement; returns their ids."""
    given = _table_of(users)
    new = (
        insert(User)
        .from_select(["username", "email"], select(given.c.username, given.c.email))
        .on_conflict_do_nothing()
        .returning(User.id, User.username, User.email)
    )
    return {(row.username, row.email): row.id for row in await session.execute(new)}


async def find_users(session: AsyncSession, users: Collection[UserKey]) -> set[UserKey]:
    """Those of `users` that are there with both that username and that email."""
    given = _table_of(users)
    same = and_(User.username == given.c.username, User.email == given.c.email)
    found = await session.execute(select(User.username, User.email).join(given, same))
    return {(row.username, row.email) for row in found}


async def mark_welcomed(session: AsyncSession, user_id: int) -> bool:
    """Record that the user was welcomed; False: that was recorded before."""
    mark = (
        update(User)
        .where(User.id == user_id, User.welcomed_at.is_(None))
        .values(welcomed_at=func.now())
        .returning(User.id)
    )
    return await session.scalar(mark) is not None


async def deactivate_stale_users(
    session: AsyncSession, *, days: int, after: int, limit: int
) -> list[int]:
    """Deactivate users that were not seen for `days` days; returns their ids, in order.

    Args:
        session: Whose transaction it is.
        days: Who was never seen counts from creation on.
        after: Only users with a larger id.
        limit: At most so many.
    """
    seen_at = func.coalesce(User.last_seen_at, User.created_at)
    stale = (
        select(User.id)
        .where(User.is_active, seen_at < func.now() - timedelta(days=days), User.id > after)
        .order_by(User.id)
        .limit(limit)
        .with_for_update(skip_locked=True)  # whoever is being changed is not stale
        .cte("stale")
    )
    deactivate = (
        update(User)
        .where(User.id.in_(select(stale.c.id)))
        .values(is_active=False)
        .returning(User.id)
    )
    return sorted(await session.scalars(deactivate))


def _table_of(users: Collection[UserKey]) -> TableValuedAlias:
    # Two arrays: the statement stays the same, and is prepared once, for any number of users.
    usernames = literal([username for username, _ in users], ARRAY(Text()))
    emails = literal([email for _, email in users], ARRAY(Text()))
    table = func.unnest(usernames, emails).table_valued("username", "email", name="given")
    return table.render_derived()


async def _refuse_taken(session: AsyncSession, username: str, email: str) -> None:
    same = or_(User.username == username, User.email == email)
    others = (await session.execute(select(User.username, User.email).where(same))).all()
    if any(other.username == username for other in others):
        raise UserTaken(f"the username {username!r} is taken")
    if others:
        raise UserTaken(f"the email {email!r} is taken")
