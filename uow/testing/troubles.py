"""What can be made to go wrong in a test, in plain words: `tasks.fail_next("…")`.

Each is a point on a task's way at which something happens in production, too. That which kills the
worker raises `Crashed`; what the attempt had not committed is undone, and the task is there for the
next worker.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal, get_args

import asyncpg
from sqlalchemy.exc import DBAPIError

from uow.failpoints import failing
from uow.spelling import did_you_mean
from uow.testing.errors import Crashed

Trouble = Literal[
    "the worker dies before the start is written",
    "the worker dies when the start is written",
    "the worker dies when the function has returned",
    "the worker dies after the COMMIT",
    "the worker dies when the callbacks were called",
    "the connection is lost at the COMMIT",
    "the answer to COMMIT is lost",
    "the COMMIT meets a serialization failure",
    "the task is cancelled while it runs",
    "another attempt takes over while it runs",
]
"""What `fail_next` takes; docs/testing.md says what each is for."""


class Meanwhile(Enum):
    """What somebody else does to a task while it runs."""

    CANCELLED = "the task is cancelled while it runs"
    TAKEN_OVER = "another attempt takes over while it runs"


DEATHS: dict[str, str] = {
    "the worker dies before the start is written": "leased",
    "the worker dies when the start is written": "started",
    "the worker dies when the function has returned": "performed",
    "the worker dies after the COMMIT": "committed",
    "the worker dies when the callbacks were called": "settled",
}
"""The failpoint (`uow.failpoints`) of each that kills the worker."""

_BLOCK = "the worker dies before block "

_AT_COMMIT = {
    "the connection is lost at the COMMIT": asyncpg.ConnectionDoesNotExistError(
        "the connection was lost at the COMMIT, before Postgres had done it"
    ),
    "the COMMIT meets a serialization failure": asyncpg.SerializationError(
        "could not serialize access due to concurrent update"
    ),
}
_AFTER_COMMIT = {
    "the answer to COMMIT is lost": asyncpg.ConnectionDoesNotExistError(
        "the connection was lost when Postgres had committed"
    ),
}


@dataclass(slots=True)
class Troubles:
    """What is to go wrong with the attempts of one test.

    Attributes:
        next: What is to happen to the next attempt; None: nothing.
        now: What is to happen to the one that runs, if it has not yet.
        blocks: How many sessions the attempt has opened that have a commit of their own.
        has_crashed: Its worker is dead: whatever it still does is undone.
    """

    next: str | None = None
    now: str | None = None
    blocks: int = 0
    has_crashed: bool = False

    def arm(self, trouble: str) -> None:
        """Let the next attempt meet it.

        Raises:
            ValueError: There is none of that name; or another one is still to come.
        """
        known = get_args(Trouble)
        if trouble not in known:
            meant = did_you_mean(trouble, known)
            hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(known)}"
            raise ValueError(f"nothing that can go wrong is called {trouble!r}; {hint}")
        if self.next is not None:
            raise ValueError(f"the next attempt already meets this: {self.next}")
        self.next = trouble

    @contextlib.contextmanager
    def of_attempt(self) -> Iterator[None]:
        """Let what was armed happen to the attempt in the block.

        Raises:
            Crashed: It was its worker's death.
        """
        self.now, self.next = self.next, None
        self.blocks, self.has_crashed = 0, False
        point = DEATHS.get(self.now or "", "")
        with failing(point, self.crash) if point else contextlib.nullcontext():
            yield

    def crash(self) -> None:
        """The worker dies.

        Raises:
            Crashed: Always.
        """
        why, self.now, self.has_crashed = self.now, None, True
        raise Crashed(why or "the worker has died")

    def refuse_if_dead(self) -> None:
        """Raise if the worker is dead, whatever user code has made of that.

        Raises:
            Crashed: It is.
        """
        if self.has_crashed:
            self.crash()

    def before_a_block(self) -> None:
        """The function opens a session that commits by itself.

        Raises:
            Crashed: The worker was to die before it.
        """
        self.refuse_if_dead()
        self.blocks += 1
        if self.now == f"{_BLOCK}{self.blocks}":
            self.crash()

    def meanwhile(self) -> Meanwhile | None:
        """What somebody does while the attempt runs."""
        for one in Meanwhile:
            if self.now == one.value:
                self.now = None
                return one
        return None

    def before_commit(self) -> None:
        """Raise what the COMMIT is to meet, which is then none."""
        self._raise(_AT_COMMIT)

    def after_commit(self) -> None:
        """Raise what comes instead of the COMMIT's answer."""
        self._raise(_AFTER_COMMIT)

    def _raise(self, errors: dict[str, asyncpg.PostgresError]) -> None:
        error = errors.get(self.now or "")
        if error is not None:
            self.now = None
            lost = isinstance(error, asyncpg.ConnectionDoesNotExistError)
            raise DBAPIError("COMMIT", None, type(error)(*error.args), connection_invalidated=lost)


def before_block(number: int) -> str:
    """What kills the worker before a function opens its session of that number."""
    return f"{_BLOCK}{number}"
