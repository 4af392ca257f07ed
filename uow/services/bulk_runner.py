"""Runs bulk acts that were confirmed: a duty of the leader."""

import logging
from collections.abc import Callable

from uow.acts.batches import BulkBatches
from uow.broker.redis import AWAY
from uow.client import TaskClient
from uow.db import answers, audit, bulk
from uow.db.failures import PASSING
from uow.service import Service

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0

AT_ONCE = 10
"""Bulk acts that take turns; others wait for one of them to end."""

PRUNE_SECONDS = 300.0

PRUNED = 1000
"""Entries of the audit per statement."""


class BulkRunner(Service):
    """Runs a batch of each bulk act in turn until none is left."""

    passing = (*PASSING, *AWAY)

    def __init__(
        self,
        client: TaskClient,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._db = client.db
        self._batches = BulkBatches(client)

    async def run_once(self) -> int:
        """Run what there is to the end; returns how many batches that were."""
        batches = 0
        while bulk_ids := await bulk.running(self._db, AT_ONCE):
            for bulk_id in bulk_ids:
                batches += 1
                if not await self._batches.run_one(bulk_id):
                    logger.info("bulk act %s has ended", bulk_id)
        return batches


class AuditPruner(Service):
    """Forgets what was done long ago."""

    passing = PASSING

    def __init__(
        self,
        client: TaskClient,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(PRUNE_SECONDS, on_death)
        self._db = client.db
        self._retention = client.settings.audit_days * 86_400

    async def run_once(self) -> int:
        """Forget everything whose time is over; returns how many entries."""
        await bulk.prune(self._db, self._retention)
        removed = 0
        while (batch := await audit.prune(self._db, self._retention, PRUNED)) > 0:
            removed += batch
        while await answers.forget(self._db, PRUNED) == PRUNED:
            pass
        return removed
