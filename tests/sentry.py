"""A process that reports to Sentry, as far as its SDK."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

Event = dict[str, Any]


@contextmanager
def reported() -> Iterator[list[Event]]:
    """The events that are reported while the block runs.

    Without the integrations that come by themselves: what they patch stays patched.
    """
    events: list[Event] = []

    class Kept(Transport):
        def capture_envelope(self, envelope: Envelope) -> None:
            if (event := envelope.get_event()) is not None:
                events.append(event)  # type: ignore[arg-type]

    sentry_sdk.init(
        dsn="https://key@localhost/1",
        transport=Kept,
        default_integrations=False,
        integrations=[LoggingIntegration()],
    )
    try:
        yield events
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)
        sentry_sdk.get_isolation_scope().clear()


def users_and_breadcrumbs(events: list[Event]) -> list[tuple[str, list[str]]]:
    """Of each event: whose it is, and what led to it."""
    return sorted(
        (
            event.get("user", {}).get("id", "nobody"),
            [
                crumb["message"]
                for crumb in event["breadcrumbs"]["values"]
                if crumb["type"] != "log"
            ],
        )
        for event in events
    )
