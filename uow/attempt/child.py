"""The program of a child process in which functions run that are ``process=True``."""

import importlib
import pickle
import runpy
import sys
from dataclasses import fields
from functools import cache
from types import ModuleType
from typing import Any

from uow.attempt.in_process import ANSWER, QUESTION, Errand, Origin, Reply
from uow.errors import SessionError, UnknownTask
from uow.process.spawned import ParentEnd
from uow.tasks.function import TaskFunction
from uow.telemetry.description import describe

_IS_NOT_HERE = {
    "redis": "make a client of your own",
    "settings": "give the function what it needs as arguments",
}


class CpuOnly(dict[str, Any]):
    """The context of a call, which says why a key is not there."""

    def __missing__(self, key: str) -> object:
        if key == "db":
            raise SessionError(
                'ctx["db"]: a task function that is process=True has no session, for it runs in a '
                "process without a connection: read and write in a task that is none, before or "
                "after it"
            )
        if key in _IS_NOT_HERE:
            raise KeyError(f"{key}: is not in a child process: {_IS_NOT_HERE[key]}")
        raise KeyError(key)


def main(parent: int, descriptor: int) -> None:
    """Answer questions until the parent has gone."""
    with ParentEnd(parent, descriptor) as end:
        while (question := end.question()) is not None:
            end.answer(_answer(question))


def _answer(question: bytes) -> bytes:
    head, _, arguments = question.partition(b"\n")
    try:
        said = _done(QUESTION.validate_json(head), arguments.decode())
    except BaseException as error:  # whatever it is: it is the attempt's
        return ANSWER.dump_json(Reply(describe(error))) + b"\n" + _pickled(error)
    return ANSWER.dump_json(Reply(None)) + b"\n" + said


def _done(question: Errand, arguments: str) -> bytes:
    function = _found(question.origin)
    if question.ctx is None:
        return b""
    ctx = CpuOnly((one.name, getattr(question.ctx, one.name)) for one in fields(question.ctx))
    result = function.function(ctx, **function.signature.decode_arguments(arguments))
    return function.signature.encode_result(result)


def _pickled(error: BaseException) -> bytes:
    try:
        return pickle.dumps(error)
    except Exception:  # then its parent is told what it says
        return b""


@cache
def _found(origin: Origin) -> TaskFunction[Any, Any]:
    module = _main(origin.main) if origin.main else importlib.import_module(origin.module)
    found: object = module
    for part in origin.qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, TaskFunction):
        return found
    for one in vars(module).values():  # by another name than its function has
        if isinstance(one, TaskFunction) and one.name == origin.name:
            return one
    raise UnknownTask(
        f"{origin.name}: a child process finds no task function {origin.module}.{origin.qualname}: "
        "is it made under a condition?"
    )


@cache
def _main(main: str) -> ModuleType:
    """The parent's ``__main__``, by a name under which it does not begin its work."""
    if main.startswith("-m "):
        found = runpy.run_module(main.removeprefix("-m "), run_name="__mp_main__", alter_sys=True)
    else:
        found = runpy.run_path(main, run_name="__mp_main__")
    module = ModuleType("__mp_main__")
    vars(module).update(found)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    return module
