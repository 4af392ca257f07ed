"""Takes the pictures of the pages that README and the documentation show.

    uv run tools/screenshots.py [docs/assets]

Starts a Postgres, a Redis, a worker and the API, lets a small shop run for a moment, gives it a
morning that it has not had, and takes pictures in Chromium. What they show is the same each time,
but for ids and times.
"""

import argparse
import asyncio
import random
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import ViewportSize, async_playwright
from pydantic import SecretStr
from served_api import serving
from shop_history import write_history
from sqlalchemy import text

import uow
from uow import Database, Registry, Settings, TaskClient, TaskContext, task
from uow.acts.actor import Actor
from uow.acts.pauses import Pausable, pause
from uow.db import migrations
from uow.embedded import EmbeddedPostgres, EmbeddedRedis

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

MOST_BYTES = 200_000
"""Of one picture."""

SIZE: ViewportSize = {"width": 1280, "height": 800}

TASKS = 240

shop = Registry()


@task("payments.charge", max_tries=4, registry=shop)
async def charge(ctx: TaskContext, order_id: int, card_token: str) -> dict[str, int | str]:
    """Fails once in a while, as banks do."""
    await asyncio.sleep(0.01)
    if order_id % 17 == 0:
        raise TimeoutError(f"the bank did not answer within 5 s for order {order_id}")
    return {"order": order_id, "receipt": f"R-{order_id * 7919 % 100_000:05}"}


@task("mails.send_receipt", queue="mail", registry=shop)
async def send_receipt(ctx: TaskContext, order_id: int, to: str) -> str:
    """A mail for an order."""
    await asyncio.sleep(0.005)
    return f"250 queued for {to}"


class OutOfStock(Exception):
    """There is none left."""


@task("stock.reserve", max_tries=1, registry=shop)
async def reserve(ctx: TaskContext, order_id: int, items: list[str]) -> int:
    """Puts things aside."""
    if order_id % 26 == 0:
        raise OutOfStock(f"no tea for order {order_id}")
    return len(items)


@task("reports.monthly", timeout=300, registry=shop)
async def monthly(ctx: TaskContext, month: str) -> None:
    """Takes as long as the pictures do."""
    await ctx["task"].report(done=7, of=20)
    await asyncio.sleep(120)


@task("thumbnails.make", timeout=300, registry=shop)
async def thumbnails(ctx: TaskContext, photo: str) -> None:
    """The same."""
    await asyncio.sleep(120)


USERS = ("anna", "ben", "chiara", "dmitri", "elif", "farah", None)

_EARLIER = text("""
    UPDATE worker.task SET created_at = created_at - ago, run_at = run_at - ago,
        started_at = started_at - ago, settled_at = settled_at - ago
    FROM (SELECT id AS of, row_number() OVER (ORDER BY id DESC) * interval '9.7 seconds'
                 + CASE queue WHEN 'nights' THEN 20 ELSE 0 END * interval '1 minute' AS ago
          FROM worker.task WHERE settled_at IS NOT NULL OR queue = 'nights') AS earlier
    WHERE id = of
""")

_TRIED = text("""
    SELECT task_id FROM worker.task_error WHERE error_type = 'TimeoutError' ORDER BY id LIMIT 1
""")


async def run_shop(client: TaskClient) -> None:
    """Ask for what a shop asks for, and wait for the end of most of it."""
    chosen = random.Random(14)  # noqa: S311 - the same each time
    for order, user in enumerate(USERS, 4711):
        await client.enqueue(charge.options(queue="nights", user_id=user), order, "tok_9a20")
    asked = []
    for order in range(1, TASKS // 3 + 1):
        user = chosen.choice(USERS)
        await client.enqueue(reserve.options(user_id=user), order, ["tea", "cup"])
        await client.enqueue(charge.options(user_id=user), order, "tok_4f1c")
        mail = send_receipt.options(user_id=user)
        asked.append(await client.enqueue(mail, order, f"{user or 'guest'}@example.org"))
    await asked[-1].result(30)
    for user in USERS[:4]:
        await client.enqueue(thumbnails.options(user_id=user), f"{user}/holiday.jpg")
    await client.enqueue(monthly, "2030-01")
    newsletter, why = Pausable("name", "mails.newsletter"), "wrong prices in it"
    await pause(client.db, newsletter, Actor("anna", "shell"), reason=why, until=None)
    await client.enqueue(send_receipt.options(delay=3600, user_id="elif"), 99, "elif@example.org")
    await asyncio.sleep(1)


async def give_a_morning(db: Database) -> None:
    """Counts of three hours, and tasks of half an hour."""
    await db.execute_once(_EARLIER, {})
    await write_history(db)


@asynccontextmanager
async def shop_is_open() -> AsyncIterator[tuple[str, TaskClient]]:
    """The shop, after a moment of work: the address of its pages, and its client."""
    with EmbeddedPostgres() as postgres, EmbeddedRedis() as redis:
        settings = Settings(
            database_url=SecretStr(postgres.url), redis_url=SecretStr(redis.url),
            queues=("arq:queue", "mail"), concurrency=8,
        )  # fmt: skip
        async with (
            Database.from_settings(settings.require_database()) as db,
            TaskClient.from_settings(settings, db=db) as client,
        ):
            await migrations.upgrade(db)
            async with uow.running(settings, registry=shop), serving(settings, shop) as address:
                await run_shop(client)
                await give_a_morning(db)
                yield address, client


async def take(into: Path, chromium: str) -> None:
    """Take each picture.

    Raises:
        SystemExit: A page is not there, or a picture is too large.
    """
    async with shop_is_open() as (address, client), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page(viewport=SIZE, color_scheme="light", timezone_id="UTC")
        failed = await client.db.execute_once(_TRIED, {})
        paths = {"overview": "/ui/", "tasks": "/ui/tasks", "task": f"/ui/tasks/{failed.scalar()}"}
        for name, path in paths.items():
            answer = await page.goto(address + path)
            if answer is None or answer.status != 200:
                raise SystemExit(f"{path} was answered with {answer and answer.status}")
            await page.wait_for_timeout(1000)  # for the first events
            picture = await page.screenshot(path=into / f"pages-{name}.png")
            print(f"{into / f'pages-{name}.png'}: {len(picture):,} bytes")
            if len(picture) > MOST_BYTES:
                raise SystemExit(f"more than {MOST_BYTES:,} bytes: show less")
        await browser.close()


def main() -> None:
    """Read the arguments, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("into", nargs="?", type=Path, default=Path("docs/assets"))
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if chromium is None:
        sys.exit("this takes its pictures in Chromium: apt-get install chromium")
    asyncio.run(take(parser.parse_args().into, chromium))


if __name__ == "__main__":
    main()
