"""Everything the demo needs to be running: servers, tables, a mail sink and a worker process."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import SecretStr

from worker.db import migrations
from worker.db.database import Database
from worker.embedded import EmbeddedPostgres, EmbeddedRedis
from worker.errors import WorkerError
from worker.execution.client import TaskClient
from worker.settings import Settings

CONCURRENCY = 20
"""Tasks at once: enough to keep two cores busy."""

QUEUE = "demo"
"""A queue of its own: with --keep, a worker of yours may work on the same servers."""

STOP_SECONDS = 15


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

    settings: Settings
    db: Database
    client: TaskClient
    mail: MailSink
    worker: "subprocess.Popen[bytes]"
    log: Path

    def check_worker(self) -> None:
        """Raise if the worker process has ended."""
        if self.worker.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise WorkerError(f"the worker ended with code {self.worker.returncode}:\n{tail}")


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
        client = await stack.enter_async_context(TaskClient.from_settings(settings, db=db))
        log = directory / "worker.log"
        worker = stack.enter_context(_worker_process(settings, log))
        yield House(settings, db, client, mail, worker, log)


def _settings(directory: Path, database_url: str, redis_url: str, smtp_port: int) -> Settings:
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        queue=QUEUE,
        concurrency=CONCURRENCY,
        storage_dir=directory / "storage",
        smtp_host="127.0.0.1",
        smtp_port=smtp_port,
        smtp_tls="none",
        mail_from="hello@example.org",
    )


@contextlib.contextmanager
def _worker_process(settings: Settings, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            env=environment(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a worker process has these settings, and no others of ours."""
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("WORKER_")}
    return {**inherited, **exports(settings)}


def exports(settings: Settings) -> dict[str, str]:
    """`settings` as environment variables."""
    values = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    return {
        f"WORKER_{name.upper()}": (
            value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        )
        for name, value in values.items()
    }
