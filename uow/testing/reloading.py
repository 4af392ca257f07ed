"""Reads a test's objects again after a task has run: what they show is what is in the database."""

from collections import defaultdict
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper, object_mapper


async def read_again(session: AsyncSession) -> None:
    """Expire every object of `session` and read it again, with one statement per class.

    Left expired, an attribute would be read when it is looked at, which an `AsyncSession` refuses.
    """
    keys: dict[Mapper[Any], list[tuple[Any, ...]]] = defaultdict(list)
    for one in session.sync_session.identity_map.values():
        mapper = object_mapper(one)
        keys[mapper].append(tuple(mapper.primary_key_from_instance(one)))
    session.expire_all()
    for mapper, those in keys.items():
        key = tuple_(*mapper.primary_key)
        await session.scalars(select(mapper.class_).where(key.in_(those)))
