"""Which tasks the filter of a bulk act means."""

from collections.abc import Mapping
from datetime import datetime

from uow.acts.kinds import Act
from uow.db.walk import Meant
from uow.errors import InvalidFilter
from uow.questions.filters import TaskFilter


def said(which: TaskFilter) -> dict[str, str]:
    """A filter's words, to be kept."""
    return dict(which.said())


def filter_of(words: Mapping[str, str]) -> TaskFilter:
    """The filter that was kept as these words."""
    return TaskFilter.read(words.items())


def meant(which: TaskFilter, act: Act, at: datetime) -> Meant:
    """The tasks that are meant at that moment; without a state, those that the act is for.

    Raises:
        InvalidFilter: It goes by arguments, in which no act on many tasks looks.
    """
    if which.arguments:
        raise InvalidFilter(
            "arg: a bulk act does not look into arguments; list the tasks, and act on their ids"
        )
    states = [state for state in act.states if not which.states or state in which.states]
    states += sorted(which.states - {*states})
    return Meant(
        states=states,
        at=at,
        task_name=which.exact_name,
        prefix=which.prefix,
        queue=which.queue,
        user_id=which.user,
        worker=which.worker,
        since=which.since,
        until=which.until,
        settled_since=which.settled_since,
        settled_until=which.settled_until,
        error=which.error,
        schedule=which.schedule,
    )
