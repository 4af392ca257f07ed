"""Somebody's arq settings class, in a process that reports to Sentry: into the file `REPORTS`."""

import json
import os
from pathlib import Path
from typing import Any

import sentry_sdk
from arq import Retry, cron
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.arq import ArqIntegration
from sentry_sdk.transport import Transport

from uow.broker import codec
from uow.broker.redis import arq_settings


class ToFile(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        with Path(os.environ["REPORTS"]).open("a") as file:
            for item in envelope.items:
                file.write(json.dumps(item.payload.json, default=str) + "\n")


if "REPORTS" in os.environ:
    sentry_sdk.init(
        dsn="https://key@localhost/1",
        transport=ToFile,
        traces_sample_rate=1.0,
        integrations=[ArqIntegration(monitor_cron_jobs=True)],
    )


async def succeeds(ctx: dict[Any, Any], secret: str) -> None:
    with sentry_sdk.start_span(op="work", name="inside"):
        pass


async def fails(ctx: dict[Any, Any], secret: str) -> None:
    sentry_sdk.set_tag("seen", ctx["job_try"])
    raise ValueError("no")


async def repeats(ctx: dict[Any, Any]) -> None:
    if ctx["job_try"] == 1:
        raise Retry


async def tick(ctx: dict[Any, Any]) -> None: ...


class WorkerSettings:
    functions = (succeeds, fails, repeats)
    cron_jobs = (cron(tick, minute=None, second={0}, run_at_startup=True),)
    redis_settings = arq_settings(os.environ.get("REDIS", "redis://localhost"))
    job_serializer = codec.serialize
    job_deserializer = codec.deserialize
    burst = True
