"""A process that reports to Sentry, as far as its SDK."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations import Integration
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


class Reports:
    """All that Sentry was sent, by its kind."""

    def __init__(self) -> None:
        self.items: list[Event] = []

    @property
    def events(self) -> list[Event]:
        return [item for item in self.items if "exception" in item or "logentry" in item
                or "message" in item]  # fmt: skip

    @property
    def transactions(self) -> list[Event]:
        return [item for item in self.items if item.get("type") == "transaction"]

    @property
    def check_ins(self) -> list[Event]:
        return [item for item in self.items if item.get("type") == "check_in"]

    @property
    def spans(self) -> list[Event]:
        """Those that were streamed."""
        streams = [item["items"] for item in self.items if "items" in item]
        return [span for spans in streams for span in spans]

    def __contains__(self, text: str) -> bool:
        return text in json.dumps(self.items, default=str)


@contextmanager
def reporting(integrations: Sequence[Integration], **options: Any) -> Iterator[Reports]:
    """What Sentry is sent while the block runs, with these integrations and that of the log."""
    reports = Reports()

    class Kept(Transport):
        def capture_envelope(self, envelope: Envelope) -> None:
            reports.items += [item.payload.json or {} for item in envelope.items]

    sentry_sdk.init(
        dsn="https://key@localhost/1",
        transport=Kept,
        default_integrations=False,
        integrations=[LoggingIntegration(), *integrations],
        **options,
    )
    try:
        yield reports
        sentry_sdk.flush(1)
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
