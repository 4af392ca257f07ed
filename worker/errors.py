"""The application's errors: what no repetition of one of its tasks can mend."""

from uow import WorkerError


class ApplicationError(WorkerError):
    """A task of the application cannot be done, however often it is tried."""


class UserTaken(ApplicationError):
    """Another user has that username or that email; the message says which of them."""


class UserNotFound(ApplicationError):
    """There is no user with that id."""


class FileRefused(ApplicationError):
    """A path leads out of ``WORKER_STORAGE_DIR``, or the file there cannot be used."""


class MailRefused(ApplicationError):
    """The mail server has refused a message for good (a 5xx answer)."""


class WebhookRefused(ApplicationError):
    """A webhook must not be sent to that URL, or its receiver will not take it."""
