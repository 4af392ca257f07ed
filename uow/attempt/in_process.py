"""Calls a ``def`` that is ``process=True`` in a child process, which is killed at its timeout.

What goes there is JSON: who the function is, its context, its arguments. What comes back is its
result, as the JSON of its type, or its error.
"""

import asyncio
import pickle
import signal
import sys
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from uow.attempt.shield import shielded
from uow.errors import ProcessDied, TaskFailed
from uow.process.kept import Kept, NotCalled
from uow.process.spawned import ChildEnded, Spawned
from uow.tasks.context import ProcessContext, TaskInfo
from uow.tasks.function import TaskFunction

PROGRAM = "uow.attempt.child"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a function is found.

    Attributes:
        module: Its module's name.
        main: The file, or ``-m`` and the name, that ``__main__`` was run from; None: it is none.
    """

    module: str
    qualname: str
    name: str
    main: str | None


@dataclass(frozen=True, slots=True)
class Context:
    """What is in a `CpuContext`."""

    task: TaskInfo
    job_id: str
    job_try: int
    enqueue_time: datetime
    score: int


@dataclass(frozen=True, slots=True)
class Errand:
    """What a child is asked; the arguments come after it.

    Attributes:
        ctx: The function is to be called with it; None: it is only to be found.
    """

    origin: Origin
    ctx: Context | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a child says; the result, or the pickled error, comes after it.

    Attributes:
        error: What is said of the error: `error_type`, `message`, `traceback`; None: there is none.
    """

    error: dict[str, str] | None


QUESTION, ANSWER = TypeAdapter(Errand), TypeAdapter(Reply)


class InProcesses:
    """Calls functions in child processes.

    Args:
        most: How many there are at once.
    """

    def __init__(self, most: int) -> None:
        self._children: Kept[Spawned] = Kept(most, self._spawned, self._end)
        self._all: set[Spawned] = set()
        self._preparing: set[asyncio.Task[Spawned]] = set()

    async def call(
        self, function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: dict[str, Any]
    ) -> object:
        """Call `function`; its result, or what it raises.

        Raises:
            NotCalled: No child came free, or was there, while it might have run.
            ProcessDied: The child has ended.
        """
        origin = _origin_of(function)
        said = QUESTION.dump_json(Errand(origin, _context_of(ctx))) + b"\n"
        said += function.signature.encode_arguments(arguments)
        child = await self._ready(function, origin)
        answer = await self._asked(child, said, function.name)
        self._children.put(child)
        result: object = function.signature.decode_result(_read(answer))
        return result

    def close(self) -> None:
        """End the children."""
        self._children.close()
        for child in tuple(self._all):
            self._end(child)

    async def _ready(self, function: TaskFunction[Any, Any], origin: Origin) -> Spawned:
        """A child that has found the function.

        What that takes is not in the time of the function; whoever comes next has it.
        """
        try:
            child = await self._alive()
            if origin.module in child.known:
                return child
            preparing = asyncio.create_task(self._prepared(child, origin))
            self._preparing.add(preparing)
            preparing.add_done_callback(self._preparing.discard)
            try:
                return await asyncio.shield(preparing)
            except asyncio.CancelledError:
                preparing.add_done_callback(self._put_back)
                raise
        except asyncio.CancelledError:
            raise NotCalled(
                f"no child process came free, or had started, in time for {function.name}, so it "
                "was not called: are all of WORKER_CPU_SLOTS in use?"
            ) from None

    async def _alive(self) -> Spawned:
        while not (child := await self._children.take()).is_alive:  # somebody has ended an idle one
            self._lose(child)
        return child

    async def _prepared(self, child: Spawned, origin: Origin) -> Spawned:
        answer = await self._asked(child, QUESTION.dump_json(Errand(origin)) + b"\n", origin.name)
        try:
            _read(answer)
        except BaseException:
            self._children.put(child)
            raise
        child.known.add(origin.module)
        return child

    def _put_back(self, preparing: "asyncio.Task[Spawned]") -> None:
        if not preparing.cancelled() and preparing.exception() is None:
            self._children.put(preparing.result())

    async def _asked(self, child: Spawned, said: bytes, name: str) -> bytes:
        try:
            return await child.ask(said)
        except ChildEnded as ended:
            self._lose(child)
            raise ProcessDied(
                f"the child process (pid {child.pid}) in which {name} ran {_described(ended.code)}"
            ) from None
        except BaseException:
            await shielded(child.gone())
            self._lose(child)
            raise

    def _spawned(self) -> Spawned:
        child = Spawned(PROGRAM)
        self._all.add(child)
        return child

    def _lose(self, child: Spawned) -> None:
        self._end(child)
        self._children.lose()

    def _end(self, child: Spawned) -> None:
        self._all.discard(child)
        child.end()


def _read(answer: bytes) -> bytes:
    """The result in an answer.

    Raises:
        Exception: What the function has raised there; one that cannot be taken over is a
            `TaskFailed` with its type, its message and its traceback.
    """
    head, _, rest = answer.partition(b"\n")
    said = ANSWER.validate_json(head).error
    if said is None:
        return rest
    raise _error_of(rest, said)


def _error_of(pickled: bytes, said: dict[str, str]) -> BaseException:
    try:
        error = pickle.loads(pickled)  # noqa: S301 - from our own child, over a socket of our own
        error.add_note("In the child process:\n" + said["traceback"].rstrip())
    except Exception:
        return TaskFailed(**said)
    return error if isinstance(error, BaseException) else TaskFailed(**said)


def _origin_of(function: TaskFunction[Any, Any]) -> Origin:
    called = function.function
    main = _main() if called.__module__ == "__main__" else None
    return Origin(called.__module__, called.__qualname__, function.name, main)


def _main() -> str:
    module = sys.modules["__main__"]
    spec = getattr(module, "__spec__", None)
    return f"-m {spec.name}" if spec is not None else str(getattr(module, "__file__", ""))


def _context_of(ctx: ProcessContext) -> Context:
    task = ctx["task"]
    info = TaskInfo(**{one.name: getattr(task, one.name) for one in fields(TaskInfo)})
    return Context(info, ctx["job_id"], ctx["job_try"], ctx["enqueue_time"], ctx["score"])


def _described(code: int | None) -> str:
    if code is None:
        return "has ended"
    if code >= 0:
        return f"has ended with exit code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    return f"was ended by {name}: out of memory, or a crash?"
