"""The example of the documentation, literally."""

from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from tests.integration.kit.shop import Order, charge, confirm, make_app, send_mail
from uow.api.deps import get_session
from uow.testing import Tasks


@pytest.fixture
async def client(session: AsyncSession) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app()
    app.dependency_overrides[get_session] = lambda: session
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_order_is_confirmed(
    session: AsyncSession, tasks: Tasks, client: httpx.AsyncClient
) -> None:
    response = await client.post("/orders")
    assert response.status_code == 201
    tasks.assert_enqueued(confirm, order_id=1)
    assert await tasks.run(confirm, order_id=1) == "confirmed"
    order = await session.get_one(Order, 1)
    assert order.state == "confirmed"
    await tasks.drain()
    tasks.assert_enqueued(send_mail, to="order-1@example.com")
    await tasks.run_twice(charge, order_id=1)
