"""Names of attributes and events: OpenTelemetry's for messaging, and ours for what it has none.

The first are those of the semantic conventions 1.44 ("messaging", in development there).
"""

from typing import Final

SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
BATCH_COUNT: Final = "messaging.batch.message_count"
CLIENT_ID: Final = "messaging.client.id"
ERROR_TYPE: Final = "error.type"

EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_TRACE: Final = "exception.stacktrace"

OUR_SYSTEM: Final = "uow_worker"
TASK_NAME: Final = "uow_worker.task.name"
ATTEMPT: Final = "uow_worker.task.attempt"
TRIES: Final = "uow_worker.task.tries"
OUTCOME: Final = "uow_worker.task.outcome"
SCHEDULE: Final = "uow_worker.schedule.name"
DELAY: Final = "uow_worker.task.delay"
"""Seconds until the next attempt is due."""

EVENTS: Final = {
    "retry": "uow_worker.retry",
    "snoozed": "uow_worker.snooze",
    "handed back": "uow_worker.hand_back",
}
"""Of a span, by the outcome: its task is not done with."""


def error_type(error: BaseException) -> str:
    """What an error is called in spans: with its module, unless Python itself has it."""
    kind = type(error)
    in_python = kind.__module__ == "builtins"
    return kind.__qualname__ if in_python else f"{kind.__module__}.{kind.__qualname__}"
