"""`worker run`: from options to settings."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from worker.errors import InvalidOptions
from worker.log_level import log_level
from worker.queues import weights_of
from worker.run import run_arq_settings, run_tasks
from worker.telemetry import logs

if TYPE_CHECKING:
    from worker.settings import Settings


def run_worker(
    arq_settings: str | None,
    start: Callable[..., "Settings"],
    *,
    stock: bool,
    burst: bool,
    concurrency: int | None,
    queues: Sequence[str],
    allow_pickle: bool,
) -> None:
    """Run our tasks, or the functions of an arq settings class.

    Raises:
        InvalidOptions: Two options exclude each other.
    """
    if arq_settings is None:
        if allow_pickle:
            raise InvalidOptions("--allow-pickle is for a SETTINGS class; our tasks are JSON")
        overrides = _given(concurrency=concurrency, queues=tuple(queues))
        run_tasks(start(**overrides), stock=stock, burst=burst)
        return
    if stock:
        raise InvalidOptions(f"for {arq_settings} under stock arq there is `arq {arq_settings}`")
    logs.configure(log_level())
    run_arq_settings(
        arq_settings,
        _given(burst=burst, max_jobs=concurrency, queues=weights_of(queues)),
        allow_pickle=allow_pickle,
    )


def _given(**options: Any) -> dict[str, Any]:
    """Those that were given: the others are left to the settings."""
    return {name: value for name, value in options.items() if value}
