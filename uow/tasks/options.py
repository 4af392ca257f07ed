"""What the caller may say about one task, apart from its arguments."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Self, TypedDict, get_args

from uow.errors import InvalidOptions
from uow.names import LONGEST_TEXT, is_name, is_storable
from uow.settings.queues import fault_in_name
from uow.spelling import did_you_mean
from uow.tasks.headers import refuse_unless_headers
from uow.tasks.outcome import LONGEST_DELAY, Delay, seconds

if TYPE_CHECKING:
    from uow.tasks.binding import Bind

MAX_PRIORITY = 9

Unique = Literal["unsettled", "waiting"]
"""For how long a task holds its unique key: until it is settled, or until it is first started."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)


class OptionValues(TypedDict, total=False):
    """The keyword arguments of `f.options(…)` and `TaskRef(…).options(…)`."""

    delay: Delay | None
    run_at: datetime | None
    user_id: str | int | None
    unique_key: str | None
    unique: Unique
    queue: str | None
    priority: int | None
    bind: "Bind | None"
    headers: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options.

    Attributes:
        delay: Seconds until the task is due.
        run_at: When it is due; excludes `delay`.
        user_id: The user the task belongs to, as text.
        unique_key: While an unsettled task has this key, enqueueing gives that task.
        unique: ``"waiting"``: only while it has not been started, so that what is asked for during
            a run is not swallowed. The two kinds of key do not see each other.
        queue: The queue; the process's own by default.
        priority: 0 to 9; higher runs first, whatever waits below it.
        bind: Of a session that has several connections, the one to write on: an engine, or a mapped
            class whose rows are written on it.
        headers: What travels with the task, instead of what it would inherit.
    """

    delay: float | None = None
    run_at: datetime | None = None
    user_id: str | None = None
    unique_key: str | None = None
    unique: Unique = "unsettled"
    queue: str | None = None
    priority: int | None = None
    bind: "Bind | None" = None
    headers: Mapping[str, str] | None = field(default=None, hash=False)

    @classmethod
    def checked(cls, name: str, values: OptionValues) -> Self:
        """Options for the task `name`.

        Raises:
            InvalidOptions: A name is unknown, a value does not fit, or two exclude each other.
        """
        if not is_name(name):
            raise InvalidOptions(f"{name[:80]!r} is not a name for a task")
        _refuse_unknown(name, values)
        delay, user_id = values.get("delay"), values.get("user_id")
        options = cls(
            delay=None if delay is None else _seconds(name, delay),
            run_at=values.get("run_at"),
            user_id=None if user_id is None else str(user_id),
            unique_key=values.get("unique_key"),
            unique=values.get("unique") or "unsettled",
            queue=values.get("queue"),
            priority=values.get("priority"),
            bind=values.get("bind"),
            headers=_headers(name, values.get("headers")),
        )
        fault = options._fault()
        if fault is not None:
            raise InvalidOptions(f"{name}: {fault}")
        return options

    def over(self, defaults: "Options") -> "Options":
        """These options, with the queue and the priority of `defaults` where they say nothing."""
        return dataclasses.replace(
            self,
            queue=self.queue or defaults.queue,
            priority=defaults.priority if self.priority is None else self.priority,
        )

    @property
    def needs_row(self) -> list[str]:
        """The given options that only a row in Postgres can keep."""
        return [name for name in ("user_id", "unique_key") if getattr(self, name) is not None]

    def _fault(self) -> str | None:
        if self.delay is not None and self.run_at is not None:
            return "give delay or run_at, not both"
        if self.delay is not None and not 0 <= self.delay <= LONGEST_DELAY:
            return f"delay={self.delay} is not a number of seconds from 0 to ten years"
        if self.run_at is not None and not _is_moment(self.run_at):
            return f"run_at={self.run_at.isoformat()} has no time zone, or is out of range"
        if self.priority is not None and not 0 <= self.priority <= MAX_PRIORITY:
            return f"priority={self.priority} is not between 0 and {MAX_PRIORITY}"
        if self.unique not in get_args(Unique):
            return f"unique={self.unique!r} is neither 'unsettled' nor 'waiting'"
        if self.unique != "unsettled" and self.unique_key is None:
            return f"unique={self.unique!r} says how long a unique_key is held, but there is none"
        if self.bind is not None and not _is_bind(self.bind):
            return f"bind={self.bind!r} is neither an engine nor a mapped class"
        for name in ("user_id", "unique_key"):
            value = getattr(self, name)
            if value is not None and not is_storable(value):
                return f"{name} is not a text of 1 to {LONGEST_TEXT} characters without NUL"
        return None if self.queue is None else fault_in_name(self.queue)


def _headers(name: str, given: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if given is None:
        return None
    refuse_unless_headers(f"{name}: headers= has", given)
    return MappingProxyType(dict(given))


def _is_bind(value: object) -> bool:
    from uow.tasks.binding import Bind  # the commands start without an ORM

    return isinstance(value, Bind)


def _seconds(name: str, delay: Delay) -> float:
    try:
        return seconds(delay)
    except (TypeError, ValueError):
        raise InvalidOptions(
            f"{name}: delay={delay!r} is neither seconds nor a timedelta"
        ) from None


def _is_moment(value: datetime) -> bool:
    try:
        return value.tzinfo is not None and _EPOCH < value.astimezone(UTC) < _END
    except OverflowError:
        return False


def _refuse_unknown(name: str, values: OptionValues) -> None:
    known = [field.name for field in dataclasses.fields(Options)]
    for given in values:
        if given not in known:
            meant = did_you_mean(given, known)
            hint = f"; did you mean {meant}?" if meant else f"; there are {', '.join(known)}"
            raise InvalidOptions(f"{name}: {given} is not an option{hint}")
