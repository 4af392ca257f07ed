"""How far the demo is, as bars; under chaos with a line about what was done to it."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.demo.chaos import Chaos
from worker.demo.work import Counts, Exports


def progress(console: Console) -> Progress:
    """Bars that look alike."""
    return Progress(
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


class Bars:
    """Shown while the block runs.

    Args:
        console: Where.
        rows: How many users there will be.
        exports: Shown too, if given.
        chaos: Shown too, if given.
    """

    def __init__(
        self,
        console: Console,
        rows: int,
        exports: Exports | None = None,
        chaos: Chaos | None = None,
    ) -> None:
        self._bars = progress(console)
        self._created = self._bars.add_task("users created", total=rows)
        self._welcomed = self._bars.add_task("users welcomed", total=rows)
        self._exports = exports
        if exports is not None:
            self._exported = self._bars.add_task("exports", total=0)
        self._live = Live(
            Group(self._bars, *([chaos] if chaos is not None else [])), console=console
        )

    def show(self, now: Counts) -> None:
        """Say how far it is."""
        self._bars.update(self._created, completed=now.created)
        self._bars.update(self._welcomed, completed=now.welcomed)
        if self._exports is not None:
            self._bars.update(
                self._exported, completed=self._exports.done, total=self._exports.asked
            )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        if not self._live.console.is_interactive:
            self._live.console.print()  # a terminal's line was ended by `stop`
