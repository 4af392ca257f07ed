"""`embedded_tasks`: what a test says about tasks of throwaway servers, from any thread.

Tasks run in an event loop of the kit's own, as they run in a process of their own in reality: what
a test has made in its own loop is not for them.
"""

import asyncio
from typing import Any, NoReturn, ParamSpec, TypeVar, overload

from uow.settings.environment import Settings
from uow.tasks.enqueue import Enqueueable
from uow.testing.committed import CommittedTasks
from uow.testing.draining import MOST_ATTEMPTS
from uow.testing.errors import NotAvailable
from uow.testing.portal import Portal
from uow.testing.rows import EnqueuedTask
from uow.testing.runner import Ran
from uow.testing.troubles import Trouble
from uow.testing.wanted import Named

P = ParamSpec("P")
R = TypeVar("R")


class _Embedded:
    """What both kinds have in common."""

    def __init__(self, portal: Portal, settings: Settings, **options: Any) -> None:
        self._portal = portal
        self._core = portal.wait_for(_made(settings, options))

    def close(self) -> None:
        """Close its connections; the fixture does it."""
        self._portal.wait_for(self._core.close())

    def enqueued(self, f: Named | None = None, /, **arguments: object) -> list[EnqueuedTask]:
        """What was committed in this test's database: see `Tasks.enqueued`."""
        self._portal.wait_for(self._core.look())
        return self._core.enqueued(f, **arguments)

    def assert_enqueued(self, f: Named, /, **arguments: object) -> EnqueuedTask:
        """Fail unless a task was committed: see `Tasks.assert_enqueued`."""
        __tracebackhide__ = True
        self._portal.wait_for(self._core.look())
        return self._core.assert_enqueued(f, **arguments)

    def refute_enqueued(self, f: Named, /, **arguments: object) -> None:
        """Fail if a task was committed: see `Tasks.refute_enqueued`."""
        __tracebackhide__ = True
        self._portal.wait_for(self._core.look())
        self._core.refute_enqueued(f, **arguments)

    def assert_wired(self, *, other_services: tuple[str, ...] = ()) -> None:
        """Fail if something leads nowhere: see `Tasks.assert_wired`."""
        __tracebackhide__ = True
        self._portal.wait_for(self._core.look())
        self._core.assert_wired(other_services=other_services)

    def travel(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        """Let time pass: see `Tasks.travel`."""
        self._portal.wait_for(self._core.look())
        self._core.travel(days=days, hours=hours, minutes=minutes, seconds=seconds)

    def fail_next(self, what: Trouble) -> None:
        """Let the next attempt meet a failure: see `Tasks.fail_next`."""
        self._core.fail_next(what)

    def run_twice(self, *_: object, **__: object) -> NoReturn:
        """Refused: what commits cannot be undone between the runs.

        Raises:
            NotAvailable: Always.
        """
        raise NotAvailable(
            "run_twice undoes each run, and what commits cannot be undone: use the fixture tasks"
        )


class EmbeddedTasks(_Embedded):
    """For async tests."""

    @overload
    async def run(self, f: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    async def run(self, f: str, /, **arguments: object) -> Any: ...

    async def run(self, f: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run one attempt of a task now: see `Tasks.run`."""
        return await asyncio.wrap_future(self._portal.submit(self._core.run(f, *args, **kwargs)))

    async def drain(self, *, at_most: int = MOST_ATTEMPTS, raises: bool = True) -> list[Ran]:
        """Run everything that is due: see `Tasks.drain`."""
        draining = self._core.drain(at_most=at_most, raises=raises)
        return await asyncio.wrap_future(self._portal.submit(draining))


class EmbeddedTasksSync(_Embedded):
    """For tests that are plain functions, as those with a `TestClient` are."""

    @overload
    def run(self, f: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def run(self, f: str, /, **arguments: object) -> Any: ...

    def run(self, f: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run one attempt of a task now: see `Tasks.run`."""
        return self._portal.wait_for(self._core.run(f, *args, **kwargs))

    def drain(self, *, at_most: int = MOST_ATTEMPTS, raises: bool = True) -> list[Ran]:
        """Run everything that is due: see `Tasks.drain`."""
        return self._portal.wait_for(self._core.drain(at_most=at_most, raises=raises))


async def _made(settings: Settings, options: dict[str, Any]) -> CommittedTasks:
    return CommittedTasks(settings, **options)  # where its connections are to live
