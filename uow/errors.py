"""Every error of our own that reaches anybody, in one tree.

`uow` exports what a call of yours can raise, or what you may want to name in ``final=``. The
others, with a star, nobody catches: they end a process or a command, or stand in a task's row.

    WorkerError
    ├── SettingsError                a setting is missing, unknown or does not fit another
    ├── ServerUnreachable            Postgres or Redis did not answer
    ├── LifespanFailed               a lifespan could not be entered: the worker does not start
    ├── WorkerDied                   a service of the worker has ended by an error of its own
    ├── Exhausted                    the process itself is out of file descriptors or memory
    ├── EmbeddedServerError *        a throwaway server could not be found or started
    ├── SchemaError                  our tables are not there as they should be, or not for us
    ├── SessionError                 what went wrong around a database session
    │   ├── TransactionAborted       a commit would have been a silent rollback
    │   ├── TransactionEnded         a statement has ended it: a COMMIT or ROLLBACK as text
    │   ├── SessionEnded             a session was used after its block
    │   ├── SessionAlreadyOpen       two sessions at once in one attempt
    │   ├── SessionLeftOpen          a task function has returned inside the block of a session
    │   ├── AttemptOver              the unit of work of an attempt was used after its end
    │   ├── UnitOfWorkLost           the attempt's transaction is gone with its connection
    │   └── AttemptSuperseded        somebody else has decided about this task meanwhile
    ├── EnqueueError                 the caller asked for something that cannot be done
    │   ├── AmbiguousClient          several open clients could be meant by a session
    │   ├── InvalidArguments         the arguments do not fit the task function
    │   │   └── ParametersDiffer     one is unknown to it, or one that it needs is missing
    │   ├── InvalidOptions           the options do not fit the task
    │   ├── PayloadTooLarge          arguments or result are larger than the limit
    │   ├── UniqueKeyTaken           another task has the unique key of one that is to run again
    │   └── UnknownTask              no task function has that name
    ├── InvalidFilter                a word or a value that is to say which tasks are meant is wrong
    ├── ActRefused *                 an act on many tasks cannot begin, or end, as it was asked for
    ├── BulkActNotFound *            there is no such preview and no such act on many tasks
    ├── QueueRefused *               Redis has something else at the key of a task's queue
    ├── InvalidSchedule              an expression, a zone or a policy of `@cron` is wrong
    ├── ScheduleNotFound             there is no schedule of that name
    ├── ScheduleBusy                 a run was asked for while one is unsettled, which it minds
    ├── InvalidResult                what the task function returned does not fit, or is not JSON
    ├── UndecodablePayload           what lies in Redis is not a job of ours
    ├── OutcomeRefused *             Postgres does not take what an attempt has ended with
    ├── StartRefused *               Postgres does not let an attempt of a task begin
    ├── RepeatedSetback *            a task meets a failing server again and again, alone
    ├── TaskTimeout                  the task function ran longer than its timeout
    ├── ProcessDied                  the child process of a task function has ended under it
    ├── ClientClosed                 a handle was asked something without an open TaskClient
    └── TaskError                    how a task ended, told to whoever waits for its result
        ├── TaskNotFound             there is no such task (any more)
        ├── TaskCancelled            it was cancelled
        └── TaskFailed               it failed for good

``Retry``, ``Snooze`` and ``Cancel`` are not errors: a task function raises them on purpose
(``uow.tasks.outcome``).
"""


class WorkerError(Exception):
    """Base of everything this package raises."""


class SettingsError(WorkerError):
    """A setting is missing, unknown, malformed, or does not fit another one."""


class ServerUnreachable(WorkerError, ConnectionError):
    """Postgres or Redis did not answer within the time that was given."""


class LifespanFailed(WorkerError):
    """A lifespan could not be entered, so the worker does not start."""


class WorkerDied(WorkerError):
    """A service of the worker has ended by an error of its own, and the process with it."""


class Exhausted(WorkerError):
    """The process itself is out of file descriptors or memory, and stays so."""


class EmbeddedServerError(WorkerError):
    """A throwaway server could not be found, started or stopped."""


class SchemaError(WorkerError):
    """The database does not have our tables, or has others by their names, or refuses us them."""


class SessionError(WorkerError):
    """Something went wrong around a database session."""


class TransactionAborted(SessionError):
    """The transaction was aborted by an earlier error that the code swallowed.

    Postgres answers such a COMMIT with a silent ROLLBACK, so nothing of the block was stored.
    The message names the first error.
    """


class TransactionEnded(SessionError):
    """The code has sent ``COMMIT`` or ``ROLLBACK`` as a statement inside a block.

    Then its effects are not in one transaction any more: some are committed, or undone, already. A
    task fails for good, because a repetition might do them twice.
    """


class SessionEnded(SessionError):
    """A session was used after its block had ended, where nobody would commit what it writes.

    For example a FastAPI `BackgroundTasks` function that was handed the request's session.
    """


class SessionAlreadyOpen(SessionError):
    """A second session was opened while one was open in the same attempt.

    An attempt has one transaction; two sessions in it at once would see half of each other's
    work. Pass the open session down instead.
    """


class SessionLeftOpen(SessionError):
    """A task function has returned while a session that it, or what it started, opened was open.

    What that session does would be half committed; so the attempt fails and commits nothing.
    """


class AttemptOver(SessionError):
    """`ctx["db"]`, or a session of it, was used after its attempt had ended.

    For example by an asyncio task that the function had started and not awaited. Nothing of it is
    stored.
    """


class UnitOfWorkLost(SessionError):
    """The connection was lost after a block had joined the attempt's transaction.

    That block's changes are gone, so the attempt cannot be completed; it is retried. Its cause, if
    one is known, is the error with which the connection ended.
    """


class AttemptSuperseded(SessionError):
    """The task was settled, or taken over by a later attempt, while this attempt ran."""


class EnqueueError(WorkerError):
    """The caller asked for something that cannot be done; nothing was enqueued."""


class AmbiguousClient(EnqueueError):
    """Several clients are open, and the session's engine does not tell which one is meant."""


class InvalidArguments(EnqueueError):
    """The arguments do not fit the task function's parameters."""


class ParametersDiffer(InvalidArguments):
    """The function has no parameter for an argument or a field, or one that it needs is not there.

    A worker that meets this waits for a deploy: who has enqueued it may have another version of the
    function.
    """


class InvalidOptions(EnqueueError):
    """The options do not fit each other or the task."""


class PayloadTooLarge(EnqueueError):
    """Arguments or a result exceed ``WORKER_MAX_PAYLOAD_BYTES``, or reported progress 8 KiB."""


class UniqueKeyTaken(EnqueueError):
    """Another task has the unique key of the one that is to run again; the message names both."""


class UnknownTask(EnqueueError):
    """No task function is registered under that name."""


class InvalidFilter(WorkerError):
    """What is to say which tasks are meant has an unknown word, or a value that does not fit."""


class ActRefused(WorkerError):
    """An act on many tasks cannot begin, or end: its preview is too old, it has ended, …"""


class BulkActNotFound(WorkerError):
    """There is no preview and no bulk act with this id."""


class QueueRefused(WorkerError):
    """A task's queue is named like a key of Redis that is no queue: it can never be pushed."""


class InvalidSchedule(WorkerError):
    """A schedule's expression, zone or policy is wrong; the message has it and the reason."""


class ScheduleNotFound(WorkerError):
    """No schedule of that name is known to the database."""


class ScheduleBusy(WorkerError):
    """A schedule that does not overlap has an unsettled task, so it is not run by hand now."""


class InvalidResult(WorkerError):
    """A task function's return value does not fit its annotation or cannot be written as JSON."""


class UndecodablePayload(WorkerError):
    """A job's payload in Redis is not JSON of ours."""


class OutcomeRefused(WorkerError):
    """An attempt has ended with something that Postgres does not take, so its task has failed."""


class StartRefused(WorkerError):
    """Postgres does not let an attempt of a task begin, so the task has failed.

    A trigger or a CHECK of somebody's is in the way, or a number is at its end.
    """


class RepeatedSetback(WorkerError):
    """A task's attempts were cut short again and again, while the servers answered.

    So it is not the servers' failure but the task's own, and counts as one try.
    """


class TaskTimeout(WorkerError):
    """A task function ran longer than its timeout."""


class ProcessDied(WorkerError):
    """The child process of a task function that is ``process=True`` has ended under it.

    Out of memory, a crash of a library, or somebody's signal: a failure of this attempt alone.
    """


class ClientClosed(WorkerError):
    """A handle was asked for something that needs an open ``TaskClient``."""


class TaskError(WorkerError):
    """How a task ended, told to whoever waits for its result."""


class TaskNotFound(TaskError):
    """There is no such task: it never was committed, or retention has removed it."""


class TaskCancelled(TaskError):
    """The task was cancelled before it succeeded."""


class TaskFailed(TaskError):
    """The task failed for good.

    Args:
        error_type: Name of the exception's class, for example ``"ValueError"``.
        message: Its text.
        traceback: Its traceback as text, without local variables; may be empty.
    """

    def __init__(self, error_type: str, message: str, traceback: str = "") -> None:
        super().__init__(error_type, message, traceback)
        self.error_type = error_type
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.error_type}: {self.message}"
