"""The work. Loaded by the workers as their task module.

Each function is counted under an order of its own name. `padding` makes a payload longer and means
nothing.
"""

import contextlib
from collections.abc import AsyncIterator
from functools import cache
from typing import cast

from sqlalchemy import Identity, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from uow.db.models import SCHEMA
from uow.proofs.bench.app import BenchSettings
from uow.proofs.bench.tally import Tally
from uow.tasks.context import TaskContext
from uow.tasks.definition import task

ACCOUNTS = 1000
"""Rows whose counters are updated: so many that tasks seldom wait for each other's locks."""

ONCE = 1
"""Tries: what fails here is not to be repeated but to be told."""


class BenchBase(DeclarativeBase):
    """Base of the models, in the schema that the benchmark has for itself."""

    metadata = MetaData(schema=SCHEMA)


class BenchAccount(BenchBase):
    """A row that tasks look up by its key and update."""

    __tablename__ = "bench_account"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    counter: Mapped[int] = mapped_column(default=0)


class Audit(BenchBase):
    """A row that a task adds. No unique constraint: what happens twice must show."""

    __tablename__ = "bench_audit"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    number: Mapped[int]


@task("bench.warm_up", max_tries=ONCE)
async def warm_up(ctx: TaskContext, number: int) -> None:
    """Opens a connection, so that none has to be opened later."""
    async with _counted(ctx, warm_up.name, number), ctx["db"].get_session() as session:
        await session.get(BenchAccount, 0)


@task("bench.no_op", durable=False, max_tries=ONCE)
async def no_op(ctx: TaskContext, number: int, padding: str = "") -> None:
    """Nothing, rowless: what Redis and the worker cost."""
    async with _counted(ctx, no_op.name, number):
        pass


@task("bench.durable", max_tries=ONCE)
async def durable(ctx: TaskContext, number: int, padding: str = "") -> None:
    """Nothing, with a row: what the guarantee costs."""
    async with _counted(ctx, durable.name, number):
        pass


@task("bench.database", max_tries=ONCE)
async def database(ctx: TaskContext, number: int, padding: str = "") -> None:
    """Looks up a row by its key, updates a counter, adds an audit row: what a real task does."""
    async with _counted(ctx, database.name, number), ctx["db"].get_session() as session:
        account = await session.get_one(BenchAccount, number % ACCOUNTS)
        account.counter = BenchAccount.counter + 1
        session.add(Audit(number=number))


@task("bench.latency_no_op", durable=False, max_tries=ONCE)
async def latency_no_op(ctx: TaskContext, number: int, padding: str = "") -> None:
    """As `no_op`, on an idle worker."""
    async with _counted(ctx, latency_no_op.name, number):
        pass


@task("bench.latency_durable", max_tries=ONCE)
async def latency_durable(ctx: TaskContext, number: int, padding: str = "") -> None:
    """As `durable`, on an idle worker."""
    async with _counted(ctx, latency_durable.name, number):
        pass


@contextlib.asynccontextmanager
async def _counted(ctx: TaskContext, name: str, number: int) -> AsyncIterator[None]:
    # Not asked whether it is: that takes pydantic a microsecond, which would be counted, too.
    tally = _tally(cast("BenchSettings", ctx["settings"]).tally_dir, name)
    await tally.pass_gate()
    tally.begin(number)
    yield
    tally.end(number)


_tally = cache(Tally)
