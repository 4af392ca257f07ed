"""The worker application of this repository: what it brings, said in one place.

``worker run``, ``worker api``, ``worker migrate`` and the other commands find `app` here, and
``arq worker.main.WorkerSettings`` runs the same worker under arq's own command.

The engine, with its connections, is made in arq's startup hook, once per process, and closed in its
shutdown hook. Task functions share it: ``ctx["db"]`` gives each attempt its sessions from there.
Importing this module reads no setting and connects to nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uow import App
from worker.settings import WorkerAppSettings

if TYPE_CHECKING:
    from uow import DeclaredSchedule


def schedules(settings: WorkerAppSettings) -> "Sequence[DeclaredSchedule]":
    """Those that the settings ask for; imported when it is asked: an API has none."""
    from worker.tasks.schedules import schedules_of_settings

    return schedules_of_settings(settings)


app = App(
    settings=WorkerAppSettings,
    modules=["worker.tasks"],
    schedules=schedules,
    routers=["worker.api.users:router"],
    migrations="worker.migrations",
)


def __getattr__(name: str) -> type:
    """`WorkerSettings`, for arq: made when it is asked for, with the settings that are set then."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    from uow.main import worker_settings

    return worker_settings(app.load_settings(), app=app)
