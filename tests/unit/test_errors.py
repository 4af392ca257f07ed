"""What `uow.errors` says of itself is true."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import uow
from uow import errors, testing
from uow.attempt.separate_blocks import SeparateBlocks
from uow.attempt.unit_of_work import UnitOfWork
from uow.broker import codec
from uow.schedules.by_hand import Schedules
from uow.tasks.context import RunningTask
from uow.tasks.function import ConfiguredTask
from uow.tasks.outcome import Signal

TREE = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}

LINE = re.compile(r"^ {4}([│├└─ ]*)(\w+)( \*)?(?: {2}.*)?$", re.MULTILINE)
"""A line of the tree in the docstring: the branch, the name, and perhaps a star."""

CAUGHT_WITHIN = {
    "uow.broker.refusals.EntriesRefused",
    "uow.proofs.chaos.system.NotSent",
    "uow.proofs.chaos.tasks.NotYet",
    "uow.tasks.passage.CannotComeBack",
    "uow.acts.batches._RefusedBatch",
    "uow.acts.once.AlreadyAsked",
    "uow.api.once._Replay",
    "uow.attempt.solo.NotAlone",
    "uow.attempt.solo.Occupied",
    "uow.process.bridge.AttemptOverInThread",
    "uow.process.kept.NotCalled",
    "uow.process.spawned.ChildEnded",
    "uow.failpoints.FailpointError",
    "uow.fast.arq.jobs.Refused",
}
"""Errors that go from one function of ours to another, or to arq, and to nobody else."""

OF_THE_TEST_KIT = {
    f"uow.testing.errors.{name}"
    for name in testing.__all__
    if getattr(testing, name).__module__ == "uow.testing.errors"
}
"""A program that is no test never meets them."""

REACHABLE = (Schedules, RunningTask, UnitOfWork, SeparateBlocks, ConfiguredTask, codec)
"""What public names lead to: `client.schedules`, `ctx["task"]`, `ctx["db"]`, `f.options(…)`."""


def in_the_docstring() -> Iterator[tuple[str, str | None, bool]]:
    """Each error of the tree, with the one above it, and whether it has a star."""
    above: list[str] = []
    for branch, name, star in LINE.findall(errors.__doc__ or ""):
        depth = len(branch) // 4
        yield name, above[depth - 1] if depth else None, bool(star)
        above[depth:] = [name]


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    bases = {name: kind.__bases__[0].__name__ for name, kind in TREE.items()}
    said = {name: above or "Exception" for name, above, _ in in_the_docstring()}
    assert said == bases


def test_every_error_is_exported_but_those_with_a_star() -> None:
    exported = {name for name, _, has_star in in_the_docstring() if not has_star}
    assert exported == TREE.keys() & {*uow.__all__}
    assert all(getattr(uow, name) is TREE[name] for name in exported)


def test_every_error_that_a_public_call_says_it_raises_is_exported() -> None:
    said: set[str] = set()
    for thing in (*(getattr(uow, name) for name in uow.__all__), *REACHABLE):
        for each in (thing, *documented(thing)):
            _, _, raises = (inspect.getdoc(each) or "").partition("Raises:")
            said |= TREE.keys() & {*re.findall(r"\w+", raises)}
    assert {"ScheduleBusy", "ClientClosed", "AttemptOver", "ServerUnreachable"} <= said
    assert said <= {*uow.__all__}


def documented(thing: Any) -> list[Any]:
    """The public methods of a class, inherited ones included, or functions of a module."""
    if not (isinstance(thing, type) or inspect.ismodule(thing)):
        return []
    return [each for name, each in inspect.getmembers(thing) if not name.startswith("_")]


@pytest.fixture(scope="module")
def modules() -> list[Any]:
    assert all(getattr(uow, name) for name in uow.__all__)
    found = pkgutil.walk_packages(uow.__path__, "uow.")
    names = [module.name for module in found if "migrations." not in module.name]
    return [importlib.import_module(name) for name in names if name != "uow.__main__"]


def test_no_error_that_reaches_anybody_is_defined_elsewhere(modules: list[Any]) -> None:
    elsewhere = {
        f"{kind.__module__}.{kind.__name__}"
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, BaseException)
        if kind.__module__ == module.__name__ != "uow.errors"
        if not issubclass(kind, Signal)
    }
    assert elsewhere == CAUGHT_WITHIN | OF_THE_TEST_KIT


def test_the_errors_are_there_without_a_servers_client() -> None:
    """Who only catches an error imports no ORM: the other names come when they are asked for."""
    names = [name for name in uow.__all__ if name in TREE]
    code = f"import sys; from uow import {', '.join(names)}; print('fine', *"
    code += "{'sqlalchemy', 'arq', 'redis', 'pydantic'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr
