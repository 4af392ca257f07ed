"""Tells other services' servers what has happened."""

import hashlib
import hmac
import random
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import httpx
from pydantic import StringConstraints
from pydantic_core import to_json

from uow import Retry, SettingsError, TaskContext, task
from worker.errors import WebhookRefused
from worker.settings import WorkerAppSettings, settings_of
from worker.tasks.egress import post
from worker.tasks.patience import BACKOFF, LONGEST_PAUSE, TRIES_IN_A_DAY

EventName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/-]{1,100}$")]
"""What may stand in a header."""

Url = Annotated[str, StringConstraints(max_length=2048)]


@task(
    "webhooks.deliver",
    max_tries=TRIES_IN_A_DAY,
    backoff=BACKOFF,
    final=(WebhookRefused, SettingsError),
    timeout=30,
    atomic=False,
)
async def deliver(ctx: TaskContext, url: Url, event: EventName, payload: dict[str, Any]) -> int:
    """POST `payload` as JSON to `url`, signed.

    A receiver that cannot take it now is asked again for about a day.

    It arrives at least once; ``X-Worker-Delivery`` is the same whenever it is repeated. The
    receiver checks that ``X-Worker-Signature`` is `sign` of the body and of
    ``X-Worker-Timestamp``, and that the timestamp is recent.

    Returns:
        The 2xx status of the answer.

    Raises:
        Retry: The receiver answers 5xx, 408 or 429; it is not asked again before its
            ``Retry-After``, of which an hour counts at most.
        WebhookRefused: It answers anything else that is not 2xx, a redirect and 410 (gone)
            included, or the URL is not one on the public internet; final.
        SettingsError: No secret is set; final.
    """
    settings, body = settings_of(ctx), to_json(payload)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "uow-worker",
        "X-Worker-Event": event,
        "X-Worker-Delivery": ctx["task"].idempotency_key,
        **_signed(settings, body),
    }
    response = await post(url, body, headers, allow_private=settings.webhook_allow_private)
    return _accepted(response, tries=ctx["task"].tries + 1)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a delivery: HMAC-SHA-256 of timestamp, dot and body."""
    message = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _signed(settings: WorkerAppSettings, body: bytes) -> dict[str, str]:
    if settings.webhook_secret is None:
        raise SettingsError("WORKER_WEBHOOK_SECRET is not set, so no webhook can be signed")
    timestamp = str(int(datetime.now(UTC).timestamp()))
    signature = sign(settings.webhook_secret.get_secret_value(), timestamp, body)
    return {"X-Worker-Timestamp": timestamp, "X-Worker-Signature": signature}


def _accepted(response: httpx.Response, *, tries: int) -> int:
    """The status, if the receiver has taken it; else this was failure number `tries`."""
    status = response.status_code
    if response.is_success:
        return status
    answered = f"the receiver answered {status}"
    if status >= 500 or status in (408, 429):
        raise Retry(_pause(response.headers.get("Retry-After", ""), tries), reason=answered)
    raise WebhookRefused(answered)


def _pause(asked: str, tries: int) -> float | None:
    """Seconds until the next try, if the receiver has asked for some; None: the backoff decides.

    They are no less than the backoff's: a receiver that says "in a second" each time would use up
    a day's tries within a minute.
    """
    seconds = retry_after(asked)
    return None if seconds is None else max(seconds, BACKOFF.delay(tries, random.Random()))  # noqa: S311


def retry_after(value: str) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, an hour at most; None: nothing sensible."""
    if re.fullmatch("[0-9]+", value):
        seconds = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
            seconds = (
                moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)
            ).total_seconds()
        except (ValueError, OverflowError):  # no date, or one that no clock will ever show
            return None
    return min(seconds, LONGEST_PAUSE) if seconds > 0 else None
