"""``worker enqueue``: key=value on the command line becomes typed arguments."""

from collections.abc import Callable
from functools import partial

import typer

from uow.app import AppParts
from uow.broker import codec
from uow.cli.client import open_client
from uow.errors import InvalidArguments, InvalidOptions, UnknownTask
from uow.settings.environment import Settings
from uow.tasks.options import OptionValues
from uow.tasks.reference import TaskRef
from uow.tasks.registry import default_registry


def parse_arguments(given: list[str]) -> dict[str, str]:
    """``key=value`` pairs as a dict.

    Raises:
        InvalidArguments: One has no ``=``, or two have the same key.
    """
    pairs = [argument.partition("=") for argument in given]
    for argument, (key, equals, _) in zip(given, pairs, strict=True):
        if not (key and equals):
            raise InvalidArguments(f"{argument!r} is not key=value")
    arguments = {key: value for key, _, value in pairs}
    if len(arguments) < len(given):
        raise InvalidArguments("two arguments have the same key")
    return arguments


def load_tasks(app: AppParts, settings: Settings, name: str) -> None:
    """Import the task modules, one of which has the task function `name`.

    Raises:
        SettingsError: One cannot be imported, or none has a task function.
        UnknownTask: None has that one.
    """
    default_registry.load(settings.task_modules, of_app=app.modules)
    if name not in default_registry:
        raise UnknownTask(f"{default_registry.no_such(name)} ({_where_looked(app, settings)})")


async def enqueue_one(
    settings: Settings,
    name: str,
    arguments: dict[str, str],
    options: OptionValues,
    *,
    wait: bool,
    timeout: float | None,
) -> None:
    """Enqueue, print the id, and with `wait` the result as JSON.

    Raises:
        EnqueueError: The name, the arguments or the options do not fit; `timeout` without `wait`.
        TaskError: With `wait`: the task failed or was cancelled.
    """
    if timeout is not None and not wait:
        raise InvalidOptions("--timeout needs --wait: without it nothing is waited for")
    given: OptionValues = {k: v for k, v in options.items() if v is not None}  # type: ignore[assignment]
    async with open_client(settings) as client:
        reference = TaskRef(name).options(**given)
        handle = await client.enqueue(reference, **_typed(name, arguments))
        typer.echo(str(handle.id))
        if not handle.created:
            typer.echo("nothing new: this task has the unique key", err=True)
        if wait:
            typer.echo(codec.to_bytes(await handle.result(timeout)).decode())


def _where_looked(app: AppParts, settings: Settings) -> str:
    places = [f"the application's {module}" for module in app.modules]
    if settings.task_modules:
        places.append(f"WORKER_TASK_MODULES={','.join(settings.task_modules)}")
    else:
        places.append("WORKER_TASK_MODULES is not set")
    return f"looked in {'; '.join(places)}"


def _typed(name: str, arguments: dict[str, str]) -> dict[str, object]:
    """Each value as its parameter's type hint says: as text where that fits, else as JSON."""
    signature = default_registry[name].signature
    return {key: _read(partial(signature.accepts, key), text) for key, text in arguments.items()}


def _read(accepts: Callable[[object], bool], text: str) -> object:
    if accepts(text):
        return text
    try:
        value: object = codec.from_bytes(text)
    except ValueError:
        return text
    # What fits neither way is told of as what it seems to be meant as.
    return value if accepts(value) or isinstance(value, list | dict) else text
