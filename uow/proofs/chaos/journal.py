"""What happened when: one file, beside the logs of the workers."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path


class Journal:
    """Writes a line per event, with the seconds since the first.

    Args:
        directory: Where it lies, and where the workers' logs lie.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = directory / "events.log"
        self.path.write_text("")
        self._began = time.monotonic()

    def note(self, event: str) -> None:
        """Write down that `event` happens now."""
        with self.path.open("a") as file:
            file.write(f"{time.monotonic() - self._began:9.3f}  {event}\n")

    @contextlib.contextmanager
    def keep_log(self) -> Iterator[None]:
        """Write this process's log beside it while the block runs.

        Warnings about servers that are away are expected, and would tear a progress line.
        """
        file = logging.FileHandler(self.directory / "command.log")
        line = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        logging.basicConfig(handlers=[file], level=logging.INFO, format=line, force=True)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(file)
            file.close()
