"""Everything the demo needs to be running but workers: servers, tables and a mail sink."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import SecretStr

from uow.client import TaskClient
from uow.db import migrations
from uow.db.database import Database
from uow.db.migrations.application import AppMigrations
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.settings.environment import GivenSettings
from uow.settings.parts import DEFAULT_SCHEMA
from worker.settings import WorkerAppSettings

CONCURRENCY = 20
"""Tasks at once: enough to keep two cores busy."""

QUEUE = "demo"
"""A queue of its own: with --keep, a worker of yours may work on the same servers."""


APP = "worker.main:app"
"""What the demo's workers run, who stand elsewhere."""

CLONE = Path(__file__).parents[2]
"""Where the package `worker` lies."""


class DemoSettings(GivenSettings, WorkerAppSettings):
    """Whatever the environment says, the demo is the same."""


class MailSink:
    """Takes every mail and remembers who got which."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: list[tuple[str, str]] = []

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd for each mail."""
        message = message_from_bytes(envelope.original_content or b"")
        message_id = str(message["Message-ID"])
        self.received += ((recipient, message_id) for recipient in envelope.rcpt_tos)
        return "250 OK"


@contextlib.asynccontextmanager
async def mail_sink() -> AsyncIterator[MailSink]:
    """Listen for mail on a free loopback port while the block runs."""
    listening = socket.create_server(("127.0.0.1", 0))
    sink = MailSink(listening.getsockname()[1])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(sink, loop=loop, enable_SMTPUTF8=True), sock=listening
    )
    async with server:
        yield sink


@dataclass(frozen=True, slots=True)
class House:
    """What is running, and how to reach it."""

    settings: DemoSettings
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    db: Database
    client: TaskClient
    mail: MailSink
    logs: Path


@contextlib.asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    """Start everything; stop it all at the end, in reverse order.

    Raises:
        EmbeddedServerError: A server's binaries are not there or do not start.
    """
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="worker-demo-")))
        postgres = await stack.enter_async_context(EmbeddedPostgres())
        redis = await stack.enter_async_context(EmbeddedRedis())
        mail = await stack.enter_async_context(mail_sink())
        settings = _settings(directory, postgres.url, redis.url, mail.port)
        settings.storage_dir.mkdir()
        db = await stack.enter_async_context(Database.from_settings(settings.require_database()))
        await migrations.upgrade(db)
        await AppMigrations("worker.migrations").upgrade(db)
        client = await stack.enter_async_context(TaskClient.from_settings(settings, db=db))
        yield House(settings, postgres, redis, db, client, mail, directory / "logs")


def _settings(directory: Path, database_url: str, redis_url: str, smtp_port: int) -> DemoSettings:
    return DemoSettings(
        database_url=SecretStr(database_url),
        database_schema=DEFAULT_SCHEMA,
        redis_url=SecretStr(redis_url),
        queue=QUEUE,
        concurrency=CONCURRENCY,
        storage_dir=directory / "storage",
        smtp_host="127.0.0.1",
        smtp_port=smtp_port,
        smtp_tls="none",
        mail_from="hello@example.org",
    )
