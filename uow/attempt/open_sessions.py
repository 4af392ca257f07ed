"""Which sessions of an attempt are open: none may be when its function has returned.

A function may start an asyncio task and not await it. What that does with `ctx["db"]` is neither
part of the attempt nor anything that somebody would commit: so the attempt fails, the connection is
taken back whatever runs on it, and each later use is refused.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator

from sqlalchemy.exc import SQLAlchemyError

from uow.db.places import place_of_caller
from uow.db.session import CheckedSession, WorkerSession
from uow.errors import AttemptOver, SessionLeftOpen
from uow.process.bridge import AttemptOverInThread

_AFTER_THE_ATTEMPT = (
    'a unit of work after its attempt has ended: nobody would commit it. ctx["db"] is for the task '
    "function and what it awaits; what goes on after it is a task of its own"
)


Opened = WorkerSession | CheckedSession
"""An asyncio task's, or a thread's."""


class OpenSessions:
    """The open sessions of an attempt, until it is over.

    Attributes:
        is_over: Nothing may be opened or used any more.
    """

    def __init__(self) -> None:
        self._open: list[Opened] = []
        self.is_over = False
        self._dropped_at: str | None = None

    @property
    def open_at(self) -> str | None:
        """Where one was opened that is open still, or was never left."""
        return _half(self._open[0]).opened_at if self._open else self._dropped_at

    @contextlib.contextmanager
    def counted(self, session: Opened) -> Iterator[None]:
        """Count `session` as open while the block runs."""
        self._open.append(session)
        try:
            yield
        except GeneratorExit:  # nobody has left its block: it was forgotten, and collected
            self._dropped_at = _half(session).opened_at
            raise
        except SQLAlchemyError as error:
            self.refuse_if_over(error)  # what it ran into is that we have taken its connection
            raise
        finally:
            self._open.remove(session)

    def refuse_if_over(self, error: BaseException | None = None) -> None:
        """Raise if the attempt has ended.

        Raises:
            AttemptOver: It has; from `error`.
        """
        if self.is_over:
            raise AttemptOver(f"{place_of_caller()} uses {_AFTER_THE_ATTEMPT}") from error

    def refuse_if_open(self) -> None:
        """Raise if one is open still: the function has returned.

        Raises:
            SessionLeftOpen: One is; with the place.
        """
        if self.open_at is not None:
            raise SessionLeftOpen(
                "the task function has returned while the session that was opened at "
                f"{self.open_at} is still open, so nothing is committed: let its block end first, "
                "and await whatever uses it in the background"
            )

    def refuse_if_dropped(self) -> None:
        """Raise if one was forgotten: what it did is in the attempt's transaction, half done.

        Raises:
            SessionLeftOpen: One was; with the place.
        """
        if self._dropped_at is not None:
            raise SessionLeftOpen(
                f"the block of the session that was opened at {self._dropped_at} was never left, "
                "so nothing is committed: open sessions with `async with`, or `with` in a def"
            )

    def end(self) -> None:
        """Refuse whoever comes from now on."""
        self.is_over = True
        for session in tuple(self._open):
            in_thread = isinstance(session, CheckedSession)
            kind = AttemptOverInThread if in_thread else AttemptOver
            _half(session).end(kind, f"in {_AFTER_THE_ATTEMPT}")

    async def close(self, take_back: Callable[[WorkerSession], Awaitable[None]]) -> None:
        """Take the connections of those that are still open, whatever runs on them.

        But those of a thread, which are not theirs (`Work.drop`).

        Args:
            take_back: Takes that of one session.
        """
        for session in tuple(self._open):
            if not isinstance(session, CheckedSession):
                await take_back(session)


def _half(session: Opened) -> CheckedSession:
    return session if isinstance(session, CheckedSession) else session.sync_session
