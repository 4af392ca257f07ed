"""``worker queue take-over``."""

from collections.abc import Sequence

import typer

from uow.cli.client import open_client
from uow.errors import InvalidOptions
from uow.services.readiness import wait_for_redis
from uow.settings.environment import Settings
from uow.settings.queues import fault_in_name
from uow.tasks.queue_owner import identify, take_over


async def take_over_each(settings: Settings, queues: Sequence[str], *, force: bool) -> None:
    """Take queues over, and say what becomes of their jobs.

    Raises:
        InvalidOptions: One is none, or is served by a worker of its owner.
    """
    names = list(queues) or list(settings.served_queues)
    for fault in filter(None, map(fault_in_name, names)):
        raise InvalidOptions(fault)
    async with open_client(settings) as client:
        await wait_for_redis(client.redis, settings)
        us = await identify(client.db, settings.app)
        for name in names:
            before = await take_over(client.redis, name, us, force=force)
            if before is None:
                typer.echo(f"queue {name!r} is that of {us}")
                continue
            jobs = await client.redis.zcard(name)
            typer.echo(
                f"queue {name!r} is that of {us} now; before that it was that of {before}. "
                f"Jobs in it: {jobs}; those whose rows are not here are finished without running"
            )
