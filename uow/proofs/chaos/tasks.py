"""The work: task functions that write effects into a table that forbids nothing.

What a task does follows from its number, so that the checker knows what must be there. Loaded by
the workers as their task module.
"""

import asyncio
import os
import random
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from uow.tasks.context import TaskContext
from uow.tasks.definition import task
from uow.tasks.function import TaskFunction
from uow.tasks.retry import Backoff

EFFECTS = text("""
    CREATE TABLE chaos_effect (
        number int, part int, attempt int, worker text, applied_at timestamptz
    )
""")
"""No key and no unique constraint: what happens twice must show."""

_APPLY = text("""
    INSERT INTO chaos_effect (number, part, attempt, worker, applied_at)
    VALUES (:number, :part, :attempt, :worker, clock_timestamp())
""")

CHILD_PART = 9
"""The part that is applied by a task which the numbered task enqueues."""

PAUSE_SECONDS = 0.05
SLOW_SECONDS = (0.3, 1.0)

TIMEOUT = 20.0
BACKOFF = Backoff(base=0.2, cap=2.0)


class TaskKind(StrEnum):
    """What a task does."""

    ONE = "one"
    TWO_BLOCKS = "two_blocks"
    WITH_CHILD = "with_child"
    SECOND_TRY = "second_try"
    SLOW = "slow"


_MIX = (
    *[TaskKind.ONE] * 12,
    *[TaskKind.TWO_BLOCKS] * 2,
    *[TaskKind.WITH_CHILD] * 2,
    *[TaskKind.SECOND_TRY] * 2,
    *[TaskKind.SLOW] * 2,
)

_PARTS = {TaskKind.TWO_BLOCKS: (0, 1), TaskKind.WITH_CHILD: (0, CHILD_PART)}


class NotYet(Exception):
    """The first try of a task that succeeds on its second."""


def kind_of(number: int) -> TaskKind:
    """What the task with this number does."""
    return _MIX[number % len(_MIX)]


def expected_parts(number: int) -> tuple[int, ...]:
    """The effects that this number must have in the end, each once."""
    return _PARTS.get(kind_of(number), (0,))


async def apply(
    session: AsyncSession | AsyncConnection, number: int, part: int, attempt: int
) -> None:
    """Write one effect."""
    values = {"number": number, "part": part, "attempt": attempt, "worker": str(os.getpid())}
    await session.execute(_APPLY, values)


async def pause() -> None:
    """Give a fault the time to come in between."""
    await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311 - guards nothing


async def long_pause() -> None:
    """As `pause`, so long that it is likely to come."""
    await asyncio.sleep(random.uniform(*SLOW_SECONDS))  # noqa: S311 - guards nothing


@task("chaos.one", timeout=TIMEOUT, backoff=BACKOFF)
async def one(ctx: TaskContext, number: int) -> None:
    """One effect."""
    await pause()
    await _apply(ctx, number, 0)
    await pause()


@task("chaos.two_blocks", timeout=TIMEOUT, backoff=BACKOFF)
async def two_blocks(ctx: TaskContext, number: int) -> None:
    """Two effects in two blocks: both, or neither."""
    await _apply(ctx, number, 0)
    await pause()
    await _apply(ctx, number, 1)
    await pause()


@task("chaos.with_child", timeout=TIMEOUT, backoff=BACKOFF)
async def with_child(ctx: TaskContext, number: int) -> None:
    """One effect, and a task that has another: both, or neither."""
    await pause()
    async with ctx["db"].get_session() as session:
        await apply(session, number, 0, ctx["task"].attempt)
        await child.enqueue(session, number=number)
    await pause()


@task("chaos.child", timeout=TIMEOUT, backoff=BACKOFF)
async def child(ctx: TaskContext, number: int) -> None:
    """The part that `with_child` leaves to another task."""
    await pause()
    await _apply(ctx, number, CHILD_PART)
    await pause()


@task("chaos.second_try", timeout=TIMEOUT, backoff=BACKOFF)
async def second_try(ctx: TaskContext, number: int) -> None:
    """Fails after its effect was written, so that must be undone; then succeeds.

    Raises:
        NotYet: On the first try.
    """
    await _apply(ctx, number, 0)
    await pause()
    if ctx["task"].tries == 0:
        raise NotYet(f"{number} succeeds on its second try")


@task("chaos.slow", timeout=TIMEOUT, backoff=BACKOFF)
async def slow(ctx: TaskContext, number: int) -> None:
    """One effect in the middle of a long time."""
    await long_pause()
    await _apply(ctx, number, 0)
    await pause()


FUNCTIONS: dict[TaskKind, TaskFunction[[int], None]] = {
    TaskKind.ONE: one,
    TaskKind.TWO_BLOCKS: two_blocks,
    TaskKind.WITH_CHILD: with_child,
    TaskKind.SECOND_TRY: second_try,
    TaskKind.SLOW: slow,
}


async def _apply(ctx: TaskContext, number: int, part: int) -> None:
    async with ctx["db"].get_session() as session:
        await apply(session, number, part, ctx["task"].attempt)
