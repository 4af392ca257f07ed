"""What ``worker doctor`` prints."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import typer

from uow.app import AppParts
from uow.questions.doctor.examination import examine
from uow.questions.doctor.finding import Finding, exit_code
from uow.questions.doctor.visit import CodeHere
from uow.settings.environment import Settings
from uow.tasks.registry import default_registry
from uow.telemetry.description import one_line


async def diagnose(app: AppParts, settings: Settings, *, as_json: bool) -> int:
    """Look at everything and print what was found; returns the exit code.

    Raises:
        SettingsError: `WORKER_DATABASE_URL` is not set.
    """
    found, checks = await examine(settings, _code_of(app, settings))
    if as_json:
        for one in found:
            typer.echo(json.dumps(asdict(one)))
    else:
        _show(found, checks)
    return exit_code(found)


def _code_of(app: AppParts, settings: Settings) -> CodeHere:
    """What the application's code has, if it is here."""
    try:
        default_registry.load(settings.task_modules, of_app=app.modules)
    except Exception as error:  # a module of somebody's: whatever it raises, the rest is looked at
        return CodeHere(None, app.migrations, one_line(error))
    rowless = sorted(one.name for one in default_registry if not one.durable)
    return CodeHere(rowless, app.migrations)


def _show(found: Sequence[Finding], checks: int) -> None:
    for one in found:
        colour = {"broken": "red", "warning": "yellow"}.get(one.severity, "blue")
        typer.echo(f"{typer.style(one.severity, fg=colour)} {one.id}: {one.means}")
        typer.echo(f"    {one.proof}")
        typer.echo(f"    -> {one.mend}")
    told = "nothing found" if not found else f"{len(found)} finding{'s' * (len(found) > 1)}"
    typer.echo(f"{told}; {checks} checks")
