"""docs/events.md names every event and every field of it."""

import re
from dataclasses import fields

import pytest

from tests.processes import ROOT
from uow import events
from uow.events import AttemptStarted, Event, TaskEvent, TaskTakenBack

PAGE = (ROOT / "docs/events.md").read_text()
KINDS = [getattr(events, name) for name in events.__all__]
TOLD = [kind for kind in KINDS if issubclass(kind, Event) and kind not in (Event, TaskEvent)]


def names(kind: type[Event]) -> set[str]:
    return {field.name for field in fields(kind)}


def documented() -> dict[str, set[str]]:
    # What is in brackets are fields of a field.
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    return {
        name: set(re.findall(r"`(\w+)`", re.sub(r"\(.*\)", "", said))) - {AttemptStarted.__name__}
        for name, said in rows
    }


def test_the_tables_name_every_event_and_nothing_else() -> None:
    assert {*documented()} == {kind.__name__ for kind in TOLD}


@pytest.mark.parametrize("kind", TOLD)
def test_the_tables_name_every_field(kind: type[Event]) -> None:
    inherited = names(Event)
    if issubclass(kind, TaskEvent):
        inherited |= names(TaskEvent)
    own = names(kind) - inherited
    if kind is not AttemptStarted and issubclass(kind, AttemptStarted):
        own -= names(AttemptStarted)
    assert documented()[kind.__name__] == own


def test_what_most_of_them_have_is_named_once() -> None:
    said = PAGE.partition("All but the last have ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", said)) == names(TaskEvent) - names(Event)
    assert "`at`" in PAGE
    assert not issubclass(TaskTakenBack, TaskEvent)
