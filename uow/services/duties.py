"""What the leader of the fleet does."""

from collections.abc import Callable

from uow.client import TaskClient
from uow.events.spine import Spine
from uow.schedules.retirement import Retirement
from uow.schedules.scheduler import Scheduler
from uow.service import Service
from uow.services.bulk_runner import AuditPruner, BulkRunner
from uow.services.count_merger import CountMerger
from uow.services.presence import Presence
from uow.services.pruner import Pruner
from uow.services.queue_ownership import QueueOwnership
from uow.services.rescuer import Rescuer
from uow.services.resumption import Resumption
from uow.settings.environment import Settings


def duties_of(
    client: TaskClient,
    settings: Settings,
    presence: Presence,
    *,
    wake_relay: Callable[[], None],
    on_death: Callable[[BaseException], None],
    events: Spine,
) -> list[Service]:
    """The services that turn where the leader is.

    Args:
        presence: This process's.
        wake_relay: Called when there is something to push.
        events: Whom to tell what happens.
    """
    db, redis = client.db, client.redis
    return [
        Rescuer(
            db, redis, settings, presence,
            wake_relay=wake_relay, on_death=on_death, events=events,
        ),
        Scheduler(db, wake_relay=wake_relay, on_death=on_death, events=events),
        Pruner(db, redis, on_death),
        Retirement(db, settings.retention, on_death),
        QueueOwnership(db, redis, settings.app, on_death),
        CountMerger(db),
        BulkRunner(client, on_death),
        AuditPruner(client, on_death),
        Resumption(db, wake_relay=wake_relay, on_death=on_death),
    ]  # fmt: skip
