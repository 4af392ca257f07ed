"""What the kit raises."""

from uow.errors import WorkerError


class NotRolledBack(WorkerError):
    """The test's session is not inside a transaction that is rolled back at its end."""


class TransactionLost(AssertionError):
    """The test's own transaction is gone, and with it everything that the test has done."""


class NotAvailable(WorkerError):
    """What this level of the kit does not have: a database, a Redis."""


class Crashed(BaseException):
    """The worker has died, at a failpoint. No `Exception`: a task function is not asked."""
