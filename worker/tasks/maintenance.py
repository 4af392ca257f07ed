"""Keeps the house in order. Meant for cron."""

from datetime import timedelta

from uow import TaskContext, task
from uow.db.queries import queries_for
from uow.services.pruning import START, Bookmark, prune_batch


@task("maintenance.prune_tasks", timeout=timedelta(hours=1), atomic=False)
async def prune_tasks(ctx: TaskContext) -> int:
    """Remove the settled tasks whose retention has ended, batch by batch.

    The leader of the workers does the same, twice a minute. This is for a house without one that
    stays: workers that only ever run with ``--burst``.

    Returns:
        How many it were in this attempt.
    """
    queries, removed = queries_for(ctx["settings"].database_schema), 0
    place: Bookmark | None = START
    while place is not None:
        async with ctx["db"].get_session() as session:
            batch, place = await prune_batch(session.execute, queries, ctx["redis"], place)
        removed += batch
    return removed
