"""Tells other services' servers what has happened."""

import hashlib
import hmac
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import httpx
from pydantic import StringConstraints
from pydantic_core import to_json

from worker import Backoff, Retry, Settings, TaskContext, task
from worker.clock import utcnow
from worker.errors import SettingsError, WebhookRefused
from worker.tasks.egress import post

LONGEST_RETRY_AFTER = 3600.0
"""Seconds; a receiver may ask for more, but cannot keep our tasks for ever."""

EventName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/-]{1,100}$")]
"""What may stand in a header."""

Url = Annotated[str, StringConstraints(max_length=2048)]


@task(
    "webhooks.deliver",
    max_tries=8,
    backoff=Backoff(base=5.0, cap=600.0),
    final=(WebhookRefused, SettingsError),
    timeout=30,
    atomic=False,
)
async def deliver(ctx: TaskContext, url: Url, event: EventName, payload: dict[str, Any]) -> int:
    """POST `payload` as JSON to `url`, signed.

    It arrives at least once; ``X-Worker-Delivery`` is the same whenever it is repeated. The
    receiver checks that ``X-Worker-Signature`` is `sign` of the body and of
    ``X-Worker-Timestamp``, and that the timestamp is recent.

    Returns:
        The 2xx status of the answer.

    Raises:
        Retry: The receiver answers 5xx, 408 or 429; it is asked again when it wants, within limits.
        WebhookRefused: It answers anything else that is not 2xx, a redirect included, or the URL
            is not one on the public internet; final.
        SettingsError: No secret is set; final.
    """
    body = to_json(payload)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "uow-worker",
        "X-Worker-Event": event,
        "X-Worker-Delivery": ctx["task"].idempotency_key,
        **_signed(ctx["settings"], body),
    }
    allow_private = ctx["settings"].webhook_allow_private
    return _accepted(await post(url, body, headers, allow_private=allow_private))


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a delivery: HMAC-SHA-256 of timestamp, dot and body."""
    message = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _signed(settings: Settings, body: bytes) -> dict[str, str]:
    if settings.webhook_secret is None:
        raise SettingsError("WORKER_WEBHOOK_SECRET is not set, so no webhook can be signed")
    timestamp = str(int(utcnow().timestamp()))
    signature = sign(settings.webhook_secret.get_secret_value(), timestamp, body)
    return {"X-Worker-Timestamp": timestamp, "X-Worker-Signature": signature}


def _accepted(response: httpx.Response) -> int:
    """The status, if the receiver has taken it."""
    status = response.status_code
    if response.is_success:
        return status
    answered = f"the receiver answered {status}"
    if status >= 500 or status in (408, 429):
        raise Retry(retry_after(response.headers.get("Retry-After", "")), reason=answered)
    raise WebhookRefused(answered)


def retry_after(value: str) -> float | None:
    """Seconds that a ``Retry-After`` header asks for; None: nothing sensible, use the backoff."""
    if re.fullmatch("[0-9]+", value):
        seconds = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - utcnow()).total_seconds()
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None
