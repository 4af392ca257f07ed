"""Why is it waiting: exactly one answer, the first true one of the list, whatever the fleet is."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uow.broker.place import PlaceInQueue
from uow.db.models import TaskState
from uow.db.pauses import StoredPause
from uow.db.waiting import ServingProcess, WaitingTask
from uow.questions.reasons import FunctionIsUnknown, OthersAreInFront, Reason
from uow.questions.why import Facts, decide

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
HOUR = timedelta(hours=1)

DUE = WaitingTask(
    id=UUID(int=7), name="mail", state=TaskState.QUEUED, queue="q", job_id="7", run_at=NOW,
    pushed=True, started_at=None, settled_at=None, attempt=0, tries=0, deaths=0, alone=False,
    setback=None, unknown_since=None, worker=None, now=NOW, led=True,
)  # fmt: skip
"""A task that nothing holds back."""

PAUSE = StoredPause(1, "queue", "q", "an incident", "ann", NOW, None)

FREE = ServingProcess(
    "free", serves=True, lives=True, leaving=False, slots=10, busy=3, unknown_task_grace=60.0,
    knows=True,
)  # fmt: skip
NEXT = PlaceInQueue(NOW_MS, NOW_MS - 1, held=False, in_front=0)

SETTLED_STATES = [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED]
processes = st.builds(
    ServingProcess,
    id=st.sampled_from(["a", "b", "c"]),
    serves=st.booleans(),
    lives=st.booleans(),
    leaving=st.booleans(),
    slots=st.none() | st.integers(1, 3),
    busy=st.none() | st.integers(0, 4),
    unknown_task_grace=st.none() | st.floats(0, 100),
    knows=st.none() | st.booleans(),
)


@st.composite
def fleets(draw: st.DrawFn) -> Facts:
    """A task in some state, in a fleet in some state."""
    state = draw(st.sampled_from([*TaskState]))
    runs, settled = state == TaskState.RUNNING, state in SETTLED_STATES
    task = WaitingTask(
        pause=draw(st.sampled_from([None, None, PAUSE])),
        id=UUID(int=7),
        name="mail",
        state=state,
        queue="q",
        job_id="7",
        run_at=NOW - HOUR if runs else NOW + draw(st.sampled_from([-HOUR, timedelta(0), HOUR])),
        pushed=draw(st.booleans()),
        started_at=NOW if runs else None,
        settled_at=NOW if settled else None,
        attempt=draw(st.integers(0, 3)),
        tries=0,
        deaths=draw(st.integers(0, 4)),
        alone=runs and draw(st.booleans()),
        setback=draw(st.none() | st.just("08006")),
        unknown_since=draw(st.none() | st.just(NOW - HOUR)),
        worker=draw(st.sampled_from(["a", "b", "gone"])) if runs else None,
        now=NOW,
        led=draw(st.booleans()),
    )
    fleet = draw(st.lists(processes, max_size=3, unique_by=lambda one: one.id))
    score = draw(st.none() | st.sampled_from([1, NOW_MS, NOW_MS + 1]))
    place = PlaceInQueue(NOW_MS, score, held=draw(st.booleans()), in_front=draw(st.integers(0, 2)))
    return Facts(task, fleet, draw(st.none() | st.just(place)), 3600.0)


def _lives(facts: Facts, worker: str | None) -> bool:
    return worker in {one.id for one in facts.processes if one.lives}


def _workers(facts: Facts) -> list[ServingProcess]:
    return [one for one in facts.processes if (one.serves, one.lives, one.leaving) == (1, 1, 0)]


def _is_offered(facts: Facts) -> bool:
    place = facts.place
    assert place is not None
    return place.score is not None and place.score <= place.now_ms and not place.held


def _waits_for_a_slot(facts: Facts) -> bool:
    if not _is_offered(facts):
        return False
    for one in _workers(facts):
        may_have_it = one.knows or one.knows is None
        if may_have_it and not (one.slots is not None and one.busy is not None
                                and one.busy >= one.slots):  # fmt: skip
            return False
    return True


ORACLE: list[tuple[str, Callable[[Facts], bool]]] = [
    ("settled", lambda f: f.task.settled_at is not None),
    ("suspect", lambda f: f.task.state == "running" and _lives(f, f.task.worker)
                          and f.task.deaths > 1 and not f.task.alone),
    ("running", lambda f: f.task.state == "running" and _lives(f, f.task.worker)),
    ("not_due", lambda f: f.task.run_at > NOW),
    ("paused", lambda f: f.task.pause is not None),
    ("unserved", lambda f: not _workers(f)),
    ("unknown_function", lambda f: {one.knows for one in _workers(f)} == {False}),
    ("suspect", lambda f: f.task.state != "running" and f.task.deaths > 1),
    ("being_rescued", lambda f: f.task.state == "running"),
    ("being_rescued", lambda f: f.place is not None and f.place.score is None
                                and f.task.pushed and f.task.led),
    ("redis_away", lambda f: f.place is None),
    ("leader_gone", lambda f: f.place is not None and f.place.score is None and f.task.pushed),
    ("about_to_start", lambda f: f.place is not None and (f.place.held or f.place.score is None)),
    ("handed_back", lambda f: not _is_offered(f)),
    ("in_front", lambda f: f.place is not None and f.place.in_front > 0),
    ("no_free_slot", _waits_for_a_slot),
    ("about_to_start", lambda f: True),
]  # fmt: skip
"""What is true when, in the order in which it is told: said once more, in other words."""


@given(fleets())
def test_every_task_of_a_random_fleet_gets_exactly_one_true_reason(facts: Facts) -> None:
    expected = next(name for name, is_true in ORACLE if is_true(facts))
    answer = decide(facts)
    assert answer.name == expected
    assert answer.text
    assert "\n" not in answer.text


def test_each_reason_has_a_name_of_its_own() -> None:
    kinds = {kind.__name__: kind.name for kind in Reason.__subclasses__()}
    assert len(kinds) == len({*kinds.values()})
    assert {*kinds.values()} == {name for name, _ in ORACLE}


@pytest.mark.parametrize("what", ["knows", "slots", "busy"])
def test_what_an_older_worker_does_not_say_is_no_reason(what: str) -> None:
    full = replace(FREE, busy=10)
    assert decide(Facts(DUE, [full], NEXT, 60)).name == "no_free_slot"
    older = replace(full, **{what: None})  # type: ignore[arg-type]
    expected = "no_free_slot" if what == "knows" else "about_to_start"
    assert decide(Facts(DUE, [older], NEXT, 60)).name == expected
    stranger = replace(FREE, knows=False)
    assert decide(Facts(DUE, [stranger], NEXT, 60)).name == "unknown_function"
    assert decide(Facts(DUE, [stranger, replace(FREE, knows=None)], NEXT, 60)).name != (
        "unknown_function"
    )


def test_the_grace_of_an_unknown_function_ends_where_it_is_shortest() -> None:
    met = replace(DUE, unknown_since=NOW)
    strangers = [
        replace(FREE, id=str(grace), knows=False, unknown_task_grace=grace)
        for grace in (300.0, 60.0, None)
    ]
    answer = decide(Facts(met, strangers, NEXT, 100))
    assert answer == FunctionIsUnknown("mail", "q", NOW, NOW + timedelta(seconds=60))
    assert (
        "'mail', met without it since 2030-01-31T12:00:00Z; it fails at 2030-01-31T12:01:00Z"
        in (answer.text)
    )
    for_ever = decide(Facts(met, [replace(strangers[0], unknown_task_grace=1e300)], NEXT, 100))
    assert isinstance(for_ever, FunctionIsUnknown)
    assert for_ever.grace_ends is None


@pytest.mark.parametrize(
    ("tasks", "said"),
    [(1, "1 task is"), (2, "2 tasks are"), (10_000, "10,000 tasks"), (10_001, "10,000+ tasks")],
)
def test_tasks_in_front_are_counted_up_to_a_cap(tasks: int, said: str) -> None:
    answer = decide(Facts(DUE, [FREE], replace(NEXT, in_front=tasks), 60))
    assert answer == OthersAreInFront("q", tasks)
    assert answer.text.startswith(said)
