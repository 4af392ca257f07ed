"""Starts `worker run` in a process of its own, for commands that bring their own workers."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from uow.errors import WorkerError
from uow.process.orphans import tie_to_us
from uow.settings.environment import Settings

STOP_SECONDS = 15.0
"""How long it may take to end after SIGTERM; then it is killed."""

TAIL_LINES = 15


class LaunchedWorker:
    """`worker run`, as a user starts it. Leaving the ``with`` block ends it.

    It has a session of its own, so that Ctrl-C is for us; on Linux it ends with us even if we are
    killed.

    Args:
        settings: Its settings: it gets no others of ours.
        log: The file that it logs to.
        place: Where it stands, and would find a ``.env``; None: where we do. The modules that lie
            where we stand are on its path, too.
        *arguments: Of `worker run`.
    """

    def __init__(
        self, settings: Settings, log: Path, *arguments: str, place: Path | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "uow", "run", *arguments],
                env=environment(settings) if place is None else _with_our_path(settings),
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=tie_to_us(signal.SIGTERM),
            )

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            WorkerError: It has; with the end of its log.
        """
        if self._process.poll() is not None:
            code = self._process.returncode
            raise WorkerError(f"the worker ended with code {code}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return tail(self.log)

    def terminate(self) -> None:
        """Tell it to stop, and do not wait for that."""
        self._process.terminate()

    def stop(self) -> None:
        """Tell it to stop and wait for its end, which comes by force if that takes long."""
        self.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a worker process has these settings, and no others of ours."""
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("WORKER_")}
    return {**inherited, **environment_variables(settings)}


def _with_our_path(settings: Settings) -> dict[str, str]:
    """`environment`, for a process that stands elsewhere and is to find what we find."""
    variables = environment(settings)
    paths = [str(Path.cwd()), *filter(None, [variables.get("PYTHONPATH")])]
    return {**variables, "PYTHONPATH": os.pathsep.join(paths)}


def environment_variables(settings: Settings) -> dict[str, str]:
    """`settings` as environment variables."""
    return {
        f"WORKER_{name.upper()}": _as_text(getattr(settings, name))
        for name in sorted(settings.model_fields_set)
    }


def tail(log: Path) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def _as_text(value: object) -> str:
    match value:
        case None:
            return ""  # which means that it is not set
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(map(_as_text, value))
        case _:
            return str(value)
