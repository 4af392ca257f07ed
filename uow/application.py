"""`uow.App`: an application of the library, and what it can be told to do.

What it consists of is `uow.app.AppParts`, which the parts of the library know.
"""

from typing import TYPE_CHECKING

from uow.app import AppParts

if TYPE_CHECKING:
    from fastapi import FastAPI

    from uow.client import TaskClient
    from uow.db.database import Database


class App(AppParts):
    """An application of the library, declared in one place.

    The commands find it by its name (``worker run billing.jobs:app``); a program of yours calls it.
    Making one reads no setting, imports no task module and connects to nothing.

    Args:
        settings: The class of its settings, which inherits from `Settings` and is read when
            something starts; or settings that the code has made, which are taken as they are.
        modules: Import paths of its task modules; those of ``WORKER_TASK_MODULES`` come beside
            them.
        schedules: A function of the settings that returns the schedules which they ask for; the
            ones of `@cron` need no mention.
        routers: FastAPI routers, as ``module:name``, that the API serves beside its own and behind
            the same tokens.
        migrations: Import path of the folder of its Alembic; `worker migrate` runs them after ours.
    """

    __slots__ = ()

    def run(self, *, burst: bool = False, stock: bool = False) -> None:
        """Run its tasks until told to stop, as ``worker run`` does; in the main thread.

        The process is the worker's from then on: stop signals are, also after this has returned,
        and it ends hard if it does not end in time. Inside another program there is `uow.running`.

        Args:
            burst: End when nothing is due.
            stock: With arq's own engine instead of ours.

        Raises:
            Exhausted: The process has been out of file descriptors or memory for too long.
            SchemaError: The migrations have not been run, or our role lacks a right.
            ServerUnreachable: Postgres or Redis did not answer in time.
            SettingsError: A setting is missing, unknown or malformed, or a module is not there.
            WorkerDied: A service has ended by an error of its own.
        """
        from uow.run import run_tasks
        from uow.telemetry import logs

        settings = self.load_settings()
        run_tasks(
            settings, self,
            burst=burst, stock=stock,
            configure_log=lambda: logs.configure(settings.log_level, settings.log_format),
        )  # fmt: skip

    def api(self) -> "FastAPI":
        """The HTTP API, as ``worker api`` serves it: for an ASGI server of yours.

        Nothing connects before it starts. FastAPI is imported now (extra ``api``).

        Raises:
            SettingsError: As `run`, or a router is not there.
        """
        from uow.api.app import create_app

        return create_app(self.load_settings(), application=self)

    def client(self, *, db: "Database | None" = None) -> "TaskClient":
        """A client with its settings, to be opened: ``async with app.client() as client``.

        Args:
            db: Share this `Database` instead of making one (it is then yours to dispose of).

        Raises:
            SettingsError: A setting is missing, unknown or malformed.
        """
        from uow.client import TaskClient

        return TaskClient.from_settings(self.load_settings(), db=db)
