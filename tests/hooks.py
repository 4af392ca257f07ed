"""Hooks of who enqueues are the process's: each test leaves those that it has found."""

from collections.abc import Iterator
from contextlib import contextmanager

from uow.tasks import hooks


@contextmanager
def hooks_as_they_are() -> Iterator[None]:
    before = (list(hooks._adding), list(hooks._surrounding))
    yield
    hooks._adding[:], hooks._surrounding[:] = before
