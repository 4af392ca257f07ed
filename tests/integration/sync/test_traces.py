"""Who enqueues without asyncio has a span, too."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

import uow.sync
from tests.tracing import said_by, traced
from uow import TaskFunction
from uow.tasks.registry import Registry


def test_every_way_has_its_span(
    engine: Engine, sync_client: uow.sync.TaskClient, double: TaskFunction[..., int],
    registry: Registry,
) -> None:  # fmt: skip
    with traced(registry) as traces:
        with Session(engine) as session, session.begin():
            uow.sync.enqueue(session, double, n=1)
        with engine.begin() as connection:
            cursor = connection.connection.cursor()
            uow.sync.enqueue_with_cursor(cursor, double, n=2)
        sync_client.enqueue(double, n=3)
        sync_client.enqueue_many(double, [{"n": 4}, {"n": 5}])
        *singles, batch = traces.all("send")
    assert len(singles) == 3
    assert all("messaging.message.id" in said_by(span) for span in singles)
    assert said_by(batch)["messaging.batch.message_count"] == 2
