"""What a test says about tasks, be they in a transaction of its own or in a database of its own."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, overload

from uow.tasks.enqueue import Enqueueable
from uow.tasks.handle import TaskHandle
from uow.tasks.reference import TaskRef
from uow.testing.draining import MOST_ATTEMPTS, Draining, Time, raise_first_failure
from uow.testing.rowless import RowlessJobs
from uow.testing.rows import EnqueuedTask, Rows
from uow.testing.runner import Ran, Runner
from uow.testing.troubles import Trouble
from uow.testing.wanted import Named, Wanted, not_enqueued, was_enqueued
from uow.testing.wiring import faults_of

P = ParamSpec("P")
R = TypeVar("R")


class Asking:
    """Runs and looks for the tasks of one test."""

    def __init__(self, runner: Runner, rows: Rows, rowless: RowlessJobs) -> None:
        self._runner = runner
        self._rows = rows
        self._rowless = rowless
        self._time = Time()
        self._draining = Draining(runner, rows, rowless, self._time)
        self._is_running = False

    # -- looking -----------------------------------------------------------------------------------

    def enqueued(self, f: Named | None = None, /, **arguments: object) -> list[EnqueuedTask]:
        """What was asked for in this test, settled or not, in order.

        Args:
            f: Tasks of this function alone; with options, of those options.
            **arguments: With these among their arguments.
        """
        there = [*self._rows.known, *self._rowless.known]
        if f is None:
            return there
        wanted = Wanted.of(f, arguments, self._runner.registry)
        return [task for task in there if wanted.matches(task)]

    def assert_enqueued(self, f: Named, /, **arguments: object) -> EnqueuedTask:
        """Fail unless a task was asked for in this test, committed or not.

        Args:
            f: A task function, a name, or one with options, which must be its own:
                ``f.options(queue=…, priority=…, user_id=…, unique_key=…)``.
            **arguments: Some of its arguments, or all.

        Returns:
            The first one.

        Raises:
            AssertionError: None was; it says what was, and in what that differs.
        """
        __tracebackhide__ = True
        found = self.enqueued(f, **arguments)
        if not found:
            wanted = Wanted.of(f, arguments, self._runner.registry)
            raise AssertionError(not_enqueued(wanted, self.enqueued()))
        return found[0]

    def refute_enqueued(self, f: Named, /, **arguments: object) -> None:
        """Fail if a task was asked for in this test.

        Raises:
            AssertionError: One was; it says which.
        """
        __tracebackhide__ = True
        found = self.enqueued(f, **arguments)
        if found:
            wanted = Wanted.of(f, arguments, self._runner.registry)
            raise AssertionError(was_enqueued(wanted, found))

    def assert_wired(self, *, other_services: tuple[str, ...] = ()) -> None:
        """Fail if something asks for a task that nobody here would run.

        Loads the task modules. Looks at every task function's type hints, at what was enqueued in
        this test, at each `TaskRef` that a loaded module has, and at the schedules.

        Args:
            other_services: Names of task functions that other services have.

        Raises:
            AssertionError: A name has no function, or arguments do not fit theirs; it says all.
            SettingsError: A task module cannot be imported.
        """
        __tracebackhide__ = True
        faults = faults_of(self._runner, self.enqueued(), other_services)
        if faults:
            raise AssertionError("\n".join(["not wired:", *(f"  {fault}" for fault in faults)]))

    # -- running -----------------------------------------------------------------------------------

    @overload
    async def run(self, f: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    async def run(self, f: str, /, **arguments: object) -> Any: ...

    async def run(self, f: Enqueueable[Any, Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Run one attempt of a task now, whenever it is due, and return what its function returns.

        It is the first unsettled one that was enqueued in this test with these arguments; or, if
        there is none, one that is enqueued now.

        Raises:
            BaseException: What its function has raised, or the commit; a note says what becomes of
                the task by its retry policy.
            EnqueueError: There is none, and with these arguments none can be enqueued.
            Crashed: Its worker has died, as `fail_next` was told.
            TransactionLost: A statement was cut off in the middle, by a timeout, say.
        """
        named = TaskRef(f) if isinstance(f, str) else f
        arguments = named.bind(args, kwargs)
        wanted = Wanted.of(f, arguments, self._runner.registry)
        async with self._turn():
            await self._refresh()
            task = self._waiting(wanted)
            if task is None:
                handle = await self._ask(wanted.function or named, arguments)
                await self._refresh()
                task = next(one for one in self.enqueued() if one.id == handle.id)
            ran = await self._attempt(task)
        result = ran.result()
        return (
            result if wanted.function is None else wanted.function.signature.decode_result(result)
        )

    async def drain(self, *, at_most: int = MOST_ATTEMPTS, raises: bool = True) -> list[Ran]:
        """Run everything that is due, and what that enqueues, until nothing is.

        What failed is tried again at once, until it has failed for good. Schedules tick up to the
        test's time. What this process has no function for is left alone.

        Args:
            at_most: Attempts.
            raises: Raise what the first task has failed with for good, when all is done.

        Returns:
            The attempts, in order.

        Raises:
            AssertionError: More than `at_most` attempts were due.
            BaseException: As `raises` says.
        """
        self._runner.load()
        async with self._turn():
            try:
                ran = await self._draining.drain(at_most)
            finally:
                self._time.ahead = self._time.travelled
        if raises:
            raise_first_failure(ran)
        return ran

    def travel(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        """Let so much time pass: more is due then, and schedules tick.

        Only what is due knows of it. The clocks of Postgres and of Python stay as they are.

        Raises:
            ValueError: It is a time that lies in the past.
        """
        passed = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if passed < timedelta(0):
            raise ValueError(f"travel({passed}): time does not go back")
        self._time.note([*self._rows.known, *self._rowless.known])
        self._time.travel(passed)

    def fail_next(self, what: Trouble) -> None:
        """Let the next attempt in this test meet a failure.

        Raises:
            ValueError: There is none of that name, or the next attempt meets another one.
        """
        self._runner.troubles.arm(what)

    # -- below -------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._runner.turn():
            await self._before_it_runs()
            self._is_running = True
            try:
                yield
            finally:
                self._is_running = False
                await self._after_it_ran()

    async def _attempt(self, task: EnqueuedTask) -> Ran:
        if any(task.id == one.id for one in self._rowless.known):
            return await self._runner.attempt_rowless(task, self._rowless)
        return await self._runner.attempt(task)

    async def _ask(self, named: Enqueueable[Any, R], arguments: dict[str, Any]) -> TaskHandle[R]:
        request = named.request_many([arguments])
        if request.durable:
            return await self._enqueue(named, arguments)
        return (await self._rowless.push(request))[0]

    def _waiting(self, wanted: Wanted) -> EnqueuedTask | None:
        return next(
            (one for one in self.enqueued() if not one.settled and wanted.matches(one)), None
        )

    async def _refresh(self) -> None:
        await self._rows.refresh(self._runner.db)

    def _refuse_what_never_came(self) -> None:
        if (never := self._runner.troubles.next) is not None:
            raise AssertionError(f"fail_next({never!r}): no attempt ran after it")

    async def _before_it_runs(self) -> None:
        """What the test has not yet written is written."""

    async def _after_it_ran(self) -> None:
        """What the test has read is read again."""

    async def _enqueue(
        self, named: Enqueueable[Any, R], arguments: Mapping[str, Any]
    ) -> TaskHandle[R]:
        """Make the row of a task."""
        raise NotImplementedError
