"""`@cron` and `schedule`: a task function that is asked for by the clock."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, ParamSpec, Self, TypeVar, get_args

from uow.errors import InvalidSchedule, WorkerError
from uow.events.processes import ScheduleInCode
from uow.names import is_name, is_storable
from uow.schedules.timetable import Timetable, ticks_every, timetable
from uow.settings.queues import fault_in_name
from uow.tasks.function import TaskFunction
from uow.tasks.options import MAX_PRIORITY
from uow.tasks.outcome import LONGEST_DELAY, Delay, seconds

P = ParamSpec("P")
R = TypeVar("R")

Missed = Literal["latest", "all", "skip"]
"""What becomes of ticks at which no worker was there: the latest is run, all are, or none."""

Overlap = Literal["allow", "skip", "queue"]
"""What becomes of a tick whose schedule has an unsettled task: it runs beside it, it is left out,
or it waits until that is settled."""

DEFAULT_GRACE = 1.0
"""Seconds: a worker that starts so shortly after a tick has not missed it."""

LONGEST_NAME = 400


_POLICIES = {"missed": get_args(Missed), "overlap": get_args(Overlap)}


@dataclass(frozen=True, slots=True)
class ScheduleDefinition:
    """A schedule as its row says it: everything that firing needs, without the code.

    Attributes:
        task: The task function's name.
        arguments: Its arguments, as JSON.
        grace: Seconds by which a tick may be late without being missed, though nobody was there.
        jitter: Seconds over which the schedule's starts are spread.
    """

    task: str
    arguments: str
    expression: str
    timezone: str
    missed: Missed
    grace: float
    jitter: float
    overlap: Overlap
    queue: str
    priority: int

    @classmethod
    def from_json(cls, text: str) -> Self:
        """A definition that some worker has registered; what a newer one knows more is left out.

        Raises:
            ValueError: It lacks something, or says what this process does not understand.
        """
        said = json.loads(text)
        known = {one.name for one in dataclasses.fields(cls)}
        lacking = known - said.keys() if isinstance(said, dict) else known
        if lacking:
            raise ValueError(f"its definition lacks {', '.join(sorted(lacking))}")
        one = cls(**{name: said[name] for name in known})
        one._refuse_odd_values()
        return one

    def to_json(self) -> str:
        """As it is registered."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def version(self) -> str:
        """The same for the same definition."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def timetable(self) -> Timetable:
        """Its ticks.

        Raises:
            ValueError: This process does not understand it.
        """
        return timetable(self.expression, self.timezone)

    def _refuse_odd_values(self) -> None:
        odd = [
            *(["task"] if not _is_name(self.task) else []),
            *(["queue"] if not _is_queue(self.queue) else []),
            *(name for name in ("grace", "jitter") if not _is_duration(getattr(self, name))),
            *(name for name in ("expression", "timezone", "arguments")
              if not isinstance(getattr(self, name), str)),
            *(name for name, values in _POLICIES.items() if getattr(self, name) not in values),
        ]  # fmt: skip
        if not isinstance(self.priority, int) or not 0 <= self.priority <= MAX_PRIORITY:
            odd.append("priority")
        if odd:
            raise ValueError(f"its definition says something else for {', '.join(odd)}")

    def unique_key(self, app: str, name: str) -> str | None:
        """What keeps two of its tasks from being unsettled at once, should it mind."""
        return None if self.overlap == "allow" else f"schedule:{app}:{name}"

    def starts(self, app: str, name: str, tick: datetime) -> datetime:
        """When the task of a tick is due: a part of the jitter later, the same for everybody."""
        if not self.jitter:
            return tick
        drawn = hashlib.sha256(f"{app}:{name}:{tick.timestamp():.0f}".encode()).digest()
        part = int.from_bytes(drawn[:6]) / 2**48
        return tick + timedelta(seconds=self.jitter * part)


@dataclass(frozen=True)
class DeclaredSchedule:
    """A schedule as the code declares it: a name, the arguments, and the rest of its definition."""

    name: str
    task: TaskFunction[Any, Any]
    arguments: Mapping[str, object] = field(hash=False)
    values: Mapping[str, Any] = field(hash=False)

    @property
    def in_code(self) -> ScheduleInCode:
        """As it is told of."""
        return ScheduleInCode(self.name, self.values["expression"], self.values["timezone"])

    def definition(self, default_queue: str) -> ScheduleDefinition:
        """What its row is to say.

        Raises:
            InvalidSchedule: The arguments do not fit the task function.
        """
        try:
            encoded = self.task.signature.encode_arguments(
                self.task.signature.bind((), self.arguments)
            )
        except WorkerError as error:
            raise InvalidSchedule(f"schedule {self.name}: {error}") from error
        options = self.task.defaults
        return ScheduleDefinition(
            task=self.task.name,
            arguments=encoded.decode(),
            queue=options.queue or default_queue,
            priority=options.priority or 0,
            **self.values,
        )


def schedule(
    function: TaskFunction[Any, Any],
    expression: str | None = None,
    *,
    every: timedelta | None = None,
    timezone: str = "UTC",
    arguments: Mapping[str, object] | None = None,
    name: str | None = None,
    missed: Missed = "latest",
    grace: Delay = DEFAULT_GRACE,
    jitter: Delay = 0.0,
    overlap: Overlap = "allow",
) -> DeclaredSchedule:
    """A schedule of a task function, for what `App.schedules` returns: one that a setting decides.

    The function itself does not know of it. `cron` is this as a decorator.

    Args:
        function: What is asked for at each tick; all else is as `cron` has it.

    Raises:
        InvalidSchedule: As `cron`.
    """
    if not isinstance(function, TaskFunction):
        raise InvalidSchedule(f"{function!r} is no task function: it lacks @task")
    given = dict(arguments or {})
    called = _name_of(function, given) if name is None else name
    try:
        values = {
            "expression": _expression(expression, every, timezone), "timezone": timezone,
            "missed": missed, "grace": seconds(grace), "jitter": seconds(jitter),
            "overlap": overlap,
        }  # fmt: skip
        _check(function, called, values)
    except (ValueError, TypeError) as error:
        raise InvalidSchedule(f"schedule {called}: {error}") from None
    return DeclaredSchedule(called, function, given, values)


def cron(
    expression: str | None = None,
    *,
    every: timedelta | None = None,
    timezone: str = "UTC",
    arguments: Mapping[str, object] | None = None,
    name: str | None = None,
    missed: Missed = "latest",
    grace: Delay = DEFAULT_GRACE,
    jitter: Delay = 0.0,
    overlap: Overlap = "allow",
) -> Callable[[TaskFunction[P, R]], TaskFunction[P, R]]:
    """Give a task function a schedule; it stands above ``@task`` and may be repeated.

    Args:
        expression: Minute, hour, day of month, month, day of week, as in a crontab; with seconds
            in front if there are six; or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``,
            ``@yearly``. `uow.schedules.timetable` says what happens at a change of the clocks.
        every: Instead of an expression: whole seconds between two ticks, whatever the clocks show.
        timezone: Whose clocks are meant, by its name in the IANA database.
        arguments: What the task function is called with.
        name: Stable and unique in the app. By default the task function's name, with the arguments
            if there are any.
        missed: What is done about ticks that were missed: no worker was there, or all of them stood
            still for half a minute. The ``"latest"`` is run, ``"all"`` are, or none (``"skip"``).
        grace: Seconds (or timedelta) by which a tick may be late without being missed, though no
            worker was there. (While another leader takes over, a tick is late, never missed.)
        jitter: Seconds (or timedelta) over which the starts are spread, so that what many
            schedules do at the full hour is not done at once.
        overlap: What is done about a tick while a task of the schedule is unsettled.

    Raises:
        InvalidSchedule: The expression, the zone or another value is wrong; the message has the
            expression and the reason.
    """

    def decorate(task: TaskFunction[P, R]) -> TaskFunction[P, R]:
        if not isinstance(task, TaskFunction):
            raise InvalidSchedule(f"@cron stands above @task, and {task!r} has none below it")
        made = schedule(
            task, expression, every=every, timezone=timezone, arguments=arguments, name=name,
            missed=missed, grace=grace, jitter=jitter, overlap=overlap,
        )  # fmt: skip
        if any(there.name == made.name for there in task.schedules):
            raise InvalidSchedule(f"two schedules are called {made.name}: give one of them name=…")
        task.schedules.append(made)
        return task

    return decorate


def schedules_of(functions: Iterable[TaskFunction[Any, Any]]) -> list[DeclaredSchedule]:
    """The schedules that `cron` has given these task functions."""
    given = (schedule for function in functions for schedule in function.schedules)
    return [schedule for schedule in given if isinstance(schedule, DeclaredSchedule)]


def _expression(expression: str | None, every: timedelta | None, timezone: str) -> str:
    if expression is not None and every is None:
        text = expression
    elif every is not None and expression is None:
        text = ticks_every(every)
    else:
        raise ValueError("give either an expression or every=timedelta(…)")
    timetable(text, timezone)
    return text


def _check(task: TaskFunction[Any, Any], name: str, values: Mapping[str, Any]) -> None:
    if not is_storable(name) or len(name) > LONGEST_NAME:
        raise ValueError(f"its name is not a text of 1 to {LONGEST_NAME} characters: give name=…")
    if not task.durable:
        raise ValueError(f"{task.name} is durable=False, and a tick is a row with a task")
    for given, known in _POLICIES.items():
        if values[given] not in known:
            raise ValueError(f"{given}={values[given]!r} is not one of {known}")
    for given in ("grace", "jitter"):
        if not _is_duration(values[given]):
            raise ValueError(f"{given}={values[given]} is not from 0 s to ten years")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and is_name(value)


def _is_queue(value: object) -> bool:
    return isinstance(value, str) and fault_in_name(value) is None


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= LONGEST_DELAY


def _name_of(task: TaskFunction[Any, Any], arguments: Mapping[str, object]) -> str:
    if not arguments:
        return task.name
    said = ",".join(f"{key}={value}" for key, value in sorted(arguments.items()))
    return f"{task.name}({said})"
