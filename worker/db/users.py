"""The users of the built-in user tasks: what a valid one is, and the queries.

Each function works in the caller's transaction and leaves it usable, whatever it raises.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from worker.db.models import User
from worker.errors import UserTaken

# Not RFC 5322, only what keeps a typo out and a mail header whole.
_EMAIL = re.compile(
    r"""(?=.{1,64}@)                            # the part before the @, RFC 5321
        [^\s@.,:;<>()\[\]\\"]+(\.[^\s@.,:;<>()\[\]\\"]+)*
        @([\w-]{1,63}\.)+[^\W\d_][\w-]{1,62}    # the last label is no number""",
    re.VERBOSE,
)


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
]
"""1 to 64 printable characters."""

Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    AfterValidator(_is_printable),
    AfterValidator(_is_email),
]
"""Looks like an email address; the domain is lowered, because DNS does not tell cases apart."""

UserId = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""What a `bigint` identity can be."""


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


async def _refuse_taken(session: AsyncSession, username: str, email: str) -> None:
    same = or_(User.username == username, User.email == email)
    others = (await session.execute(select(User.username, User.email).where(same))).all()
    if any(other.username == username for other in others):
        raise UserTaken(f"the username {username!r} is taken")
    if others:
        raise UserTaken(f"the email {email!r} is taken")
