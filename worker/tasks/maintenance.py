"""Keeps the house in order. Meant for cron."""

from datetime import timedelta

from uow import TaskContext, prune, task


@task("maintenance.prune_tasks", timeout=timedelta(hours=1), atomic=False)
async def prune_tasks(ctx: TaskContext) -> int:
    """Remove the settled tasks whose retention has ended, batch by batch.

    The leader of the workers does the same, twice a minute. This is for a house without one that
    stays: workers that only ever run with ``--burst``.

    Returns:
        How many it were in this attempt.
    """
    return await prune(ctx)
