"""What tasks have left behind, read from the servers when all is done."""

from typing import Any

from sqlalchemy import func, select

from uow.db.models import Task, TaskState
from uow.proofs.bench.result import Effects
from uow.proofs.bench.site import Site
from uow.proofs.bench.tasks import Audit, BenchAccount, database
from uow.tasks.function import TaskFunction


async def unfinished(site: Site) -> bool:
    """Whether any task may still change something."""
    if await site.client.redis.zcard(site.settings.queue):
        return True
    async with site.db.get_session() as session:
        left = select(func.count()).select_from(Task).where(Task.settled_at.is_(None))
        return bool(await session.scalar(left))


async def effects_of(site: Site, function: TaskFunction[Any, None]) -> Effects:
    """What is there of the tasks of `function`."""
    if not function.durable:
        return Effects()
    succeeded = select(func.count()).select_from(Task)
    succeeded = succeeded.where(Task.name == function.name, Task.state == TaskState.SUCCEEDED)
    async with site.db.get_session() as session:
        rows = await session.scalar(succeeded)
        if function is not database:
            return Effects(succeeded=rows)
        return Effects(
            succeeded=rows,
            audited=await session.scalar(select(func.count()).select_from(Audit)),
            counted=await session.scalar(select(func.sum(BenchAccount.counter))),
        )
