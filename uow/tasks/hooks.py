"""Hooks of who enqueues: they add headers to tasks, and may be around the writing of them."""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from uuid import UUID

from uow.errors import InvalidOptions
from uow.tasks.headers import (
    EnqueueHook,
    Enqueuing,
    Surrounding,
    SurroundingHook,
    inherited,
    refuse_unless_headers,
)
from uow.user_code import whereabouts

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=EnqueueHook | SurroundingHook)

_adding: list[EnqueueHook] = []
_surrounding: list[SurroundingHook] = []


def on_enqueue(hook: H) -> H:
    """Have a function add headers to each task that this process enqueues.

    ::

        @on_enqueue
        def request_id(enqueuing: Enqueuing) -> dict[str, str]:
            return {"request-id": current_request_id.get()}

    It is called in the context of who enqueues, before anything is written, once for all tasks of
    an `enqueue_many`. What it returns wins over what is inherited, and what is given with
    ``options(headers=…)`` over both. What it raises is raised to who enqueues, and nothing is
    written: a task without its tenant would be worse.

    One with a ``yield`` is around the writing::

        @on_enqueue
        def timed(enqueuing: Enqueuing) -> Generator[None, Sequence[UUID], None]:
            began = time.perf_counter()
            ids = yield None                       # or headers
            log(enqueuing.name, ids, time.perf_counter() - began)

    Such hooks come after all others. The ``yield`` gives the ids of the tasks (of a unique key that
    is taken, that of the task that has it), or raises what the writing has failed by. That may
    still be rolled back: `uow.events.TaskEnqueued` tells of what is committed. What it raises after
    its ``yield`` is logged, and changes nothing.

    Raises:
        InvalidOptions: It is no plain function.
    """
    if not callable(hook) or inspect.iscoroutinefunction(hook) or inspect.isasyncgenfunction(hook):
        raise InvalidOptions(f"@on_enqueue: {whereabouts(hook)} is no plain def of one parameter")
    _hooks_like(hook).append(hook)
    return hook


def forget_hook(hook: EnqueueHook | SurroundingHook) -> None:
    """Undo `on_enqueue`."""
    _hooks_like(hook).remove(hook)


def _hooks_like(hook: object) -> list[Any]:
    return _surrounding if inspect.isgeneratorfunction(hook) else _adding


class Hooks:
    """The hooks of one enqueueing: entered before anything is written, left when all is.

    Args:
        given: What ``options(headers=…)`` has said, which takes the place of what is inherited.
        count: How many tasks there are.

    Attributes:
        headers: What is to travel with the tasks, once it is entered.
    """

    __slots__ = ("_given", "_ids", "_open", "_who", "headers")

    def __init__(
        self,
        name: str,
        queue: str,
        user_id: str | None,
        given: Mapping[str, str] | None,
        count: int,
    ) -> None:
        self._who = (name, queue, user_id, count)
        self._given = given
        self.headers = inherited() if given is None else given
        self._open: list[tuple[SurroundingHook, Surrounding]] = []
        self._ids: Sequence[UUID] = ()

    def __enter__(self) -> Self:
        """Call the hooks.

        Raises:
            InvalidOptions: One returns something else than text by text, or all is too large.
            Exception: What a hook raises.
        """
        try:
            for adds in _adding:
                self._add(adds, adds(self._enqueuing()))
            for surrounds in _surrounding:
                self._begin(surrounds)
        except BaseException as error:
            self._end(error)
            raise
        return self

    def written(self, ids: Sequence[UUID]) -> None:
        """These tasks were written."""
        self._ids = ids

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open:
            self._end(error)

    def _enqueuing(self) -> Enqueuing:
        name, queue, user_id, count = self._who
        return Enqueuing(name, queue, user_id, self.headers, count)

    def _add(self, hook: Callable[..., object], added: Mapping[str, str] | None) -> None:
        if added is not None:
            name = self._who[0]
            refuse_unless_headers(f"{name}: @on_enqueue: {whereabouts(hook)} has returned", added)
            self.headers = {**self.headers, **added, **(self._given or {})}

    def _begin(self, hook: SurroundingHook) -> None:
        begun = cast("Surrounding", hook(self._enqueuing()))
        try:
            added = next(begun)
        except StopIteration:  # it has nothing to add, and nothing to wait for
            return
        self._open.append((hook, begun))
        self._add(hook, added)

    def _end(self, error: BaseException | None) -> None:
        """Let each go on after its ``yield``, the last one first."""
        while self._open:
            hook, begun = self._open.pop()
            try:
                _go_on(begun, self._ids, error)
            except KeyboardInterrupt:  # which is for the process, wherever it comes
                raise
            except BaseException as fault:
                if fault is not error:
                    logger.exception(
                        "@on_enqueue: %s has failed after its yield; what was written stays",
                        whereabouts(hook),
                    )


def _go_on(begun: Surrounding, ids: Sequence[UUID], error: BaseException | None) -> None:
    try:
        if error is None:
            begun.send(ids)
        else:
            begun.throw(error)
    except StopIteration:
        return
    begun.close()
    raise InvalidOptions("it has yielded twice: a hook has one yield")
