"""What a job of anybody's arq application tells Sentry stays with that job on our engine, too."""

import asyncio

import sentry_sdk
from arq.connections import ArqRedis
from arq.worker import func

from tests.integration.arq.conftest import Context, Make
from tests.sentry import reported, users_and_breadcrumbs
from uow.fast.worker import FastWorker


async def test_the_report_of_a_failed_job_has_nothing_of_another_job(
    client: ArqRedis, make: Make
) -> None:
    both = asyncio.Barrier(2)

    async def fails(ctx: Context, who: str) -> None:
        sentry_sdk.set_user({"id": who})
        sentry_sdk.add_breadcrumb(message=f"{who} was here", type="default")
        await both.wait()
        raise ValueError(who)

    for who in "ada", "bob":
        await client.enqueue_job("fails", who)
    with reported() as events:
        await make(FastWorker, func(fails, name="fails")).async_run()
    mine = [event for event in events if event["logger"] == "arq.worker"]
    assert users_and_breadcrumbs(mine) == [(who, [f"{who} was here"]) for who in ("ada", "bob")]
