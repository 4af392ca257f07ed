"""A small service, as a user of the kit has one."""

from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from sqlalchemy import text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from uow import Backoff, Cancel, SessionDep, Snooze, TaskContext, cron, task
from uow.tasks.registry import Registry

registry = Registry()


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(server_default=text("'new'"))


class Payment(Base):
    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int]


CREATE = [
    "CREATE TABLE orders (id serial PRIMARY KEY, state text NOT NULL DEFAULT 'new')",
    """CREATE TABLE payments (id serial PRIMARY KEY,
           order_id int NOT NULL REFERENCES orders DEFERRABLE INITIALLY DEFERRED)""",
]


@task("mail.send", registry=registry)
async def send_mail(ctx: TaskContext, to: str, subject: str = "hello") -> None: ...


@task("orders.confirm", registry=registry)
async def confirm(ctx: TaskContext, order_id: int) -> str:
    async with ctx["db"].get_session() as session:
        await session.execute(update(Order).where(Order.id == order_id).values(state="confirmed"))
        await send_mail.enqueue(session, to=f"order-{order_id}@example.com")
    return "confirmed"


@task("orders.charge", registry=registry)
async def charge(ctx: TaskContext, order_id: int) -> None:
    async with ctx["db"].get_session() as session:
        session.add(Payment(order_id=order_id))


@task("orders.charge_in_blocks", registry=registry, atomic=False)
async def charge_in_blocks(ctx: TaskContext, order_id: int) -> None:
    async with ctx["db"].get_session() as session:
        session.add(Payment(order_id=order_id))
    async with ctx["db"].get_session() as session:
        await session.execute(update(Order).where(Order.id == order_id).values(state="charged"))


@task("orders.fail", registry=registry, max_tries=3, backoff=Backoff(base=60, jitter=0))
async def fail(ctx: TaskContext, order_id: int) -> None:
    async with ctx["db"].get_session() as session:
        session.add(Payment(order_id=order_id))
        await session.flush()
        raise ValueError("no")


@task("orders.snooze", registry=registry)
async def snooze(ctx: TaskContext) -> None:
    if ctx["task"].attempt == 1:
        raise Snooze(3600)


@task("orders.cancel", registry=registry)
async def cancel(ctx: TaskContext) -> None:
    raise Cancel("not needed")


@task("orders.sleep", registry=registry, timeout=0.05)
async def sleep(ctx: TaskContext) -> None:
    async with ctx["db"].get_session() as session:
        await session.execute(text("SELECT pg_sleep(5)"))


@task("orders.again", registry=registry)
async def again(ctx: TaskContext) -> None:
    async with ctx["db"].get_session() as session:
        await again.enqueue(session)


@cron(every=timedelta(hours=1), overlap="skip")
@task("orders.tidy", registry=registry)
async def tidy(ctx: TaskContext) -> None: ...


@task("orders.ping", registry=registry, durable=False)
async def ping(ctx: TaskContext, order_id: int) -> str:
    return f"pinged {order_id}"


def make_app() -> FastAPI:
    app = FastAPI()

    @app.post("/orders", status_code=201)
    async def create_order(session: SessionDep) -> dict[str, Any]:
        order = Order()
        session.add(order)
        await session.flush()
        await confirm.enqueue(session, order_id=order.id)
        return {"id": order.id}

    return app
