"""What has ended is told once, and together; whoever counts it, and on whatever thread."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from uow.attempt.notes import TOGETHER, UNKNOWN, EndedAlike, Notes
from uow.attempt.telling import EndedAttempt
from uow.events.spine import Spine
from uow.tasks.outcome import Completed, Failed, Outcome

NO_HEADERS: dict[str, str] = {}


def ended(
    name: str = "mails.send", waited: float = 0.25, outcome: Outcome | None = None
) -> EndedAttempt:
    task = SimpleNamespace(name=name, queue="q", headers=NO_HEADERS)
    attempt: Any = SimpleNamespace(task=task, began=1_700_000_000.0, waited=waited)
    return EndedAttempt(attempt, outcome or Completed(b"null"))


class Worker:
    """Attempts end in it, and are counted."""

    def __init__(self) -> None:
        self._events = Spine()
        self.notes = Notes(self._events, {"mails.send"}.__contains__)
        self.told: list[list[EndedAlike]] = []
        self.notes.listen(self.hear)

    def hear(self, ended: Sequence[EndedAlike]) -> None:
        self.told.append([*ended])

    def end(self, attempts: Iterable[EndedAttempt]) -> None:
        self._events.emit_all([*attempts])

    @property
    def waited(self) -> list[float]:
        return [seconds for those in self.told for one in those for seconds in one.waited]


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_what_has_ended_alike_is_told_together_and_in_its_order(worker: Worker) -> None:
    for waited in (3.0, 1.0, 2.0):
        worker.end([ended(waited=waited), ended(outcome=Failed(ValueError("no")))])
    worker.notes.count()
    ((completed, failed),) = worker.told
    assert completed[:3] == ("mails.send", "q", "completed")
    assert [*completed.waited] == [3.0, 1.0, 2.0]
    assert (failed.outcome, len(failed.ran)) == ("failed", 3)
    assert [*failed.error_types] == ["ValueError"] * 3
    assert [*completed.error_types] == [None] * 3


def test_many_are_told_without_being_asked_for_and_few_are_not(worker: Worker) -> None:
    for _ in range(TOGETHER - 1):
        worker.end([ended()])
    assert worker.told == []
    worker.end([ended()])
    assert len(worker.waited) == TOGETHER


def test_nothing_is_told_where_nothing_has_ended(worker: Worker) -> None:
    worker.notes.count()
    assert worker.told == []


def test_names_that_no_function_has_are_one(worker: Worker) -> None:
    worker.end([ended("stranger"), ended("another")])
    worker.notes.count()
    ((first, second),) = worker.told
    assert first.name == second.name == UNKNOWN


def test_one_that_cannot_count_keeps_nothing_from_the_others(worker: Worker) -> None:
    others = Worker()

    def fail(ended: Sequence[EndedAlike]) -> None:
        raise ZeroDivisionError

    worker.notes.listen(fail)
    worker.notes.listen(others.hear)
    worker.end([ended()])
    worker.notes.count()
    assert worker.waited == others.waited == [0.25]


def test_while_somebody_reads_nothing_is_told(worker: Worker) -> None:
    with ThreadPoolExecutor(1) as thread:
        with worker.notes.counted():
            worker.end([ended()])
            counting = thread.submit(worker.notes.count)
            assert not counting.done()
            assert worker.told == []
        counting.result(10)
    assert len(worker.waited) == 1


def test_what_is_noted_by_one_thread_and_counted_by_others_is_told_once(worker: Worker) -> None:
    with ThreadPoolExecutor(4) as threads:
        for at in range(200):
            threads.submit(worker.notes.count)
            worker.end(ended(waited=float(200 * at + n)) for n in range(200))
    worker.notes.count()
    assert worker.waited == [float(n) for n in range(200 * 200)]


def test_what_ends_while_another_thread_takes_what_has_ended_is_told_the_next_time(
    worker: Worker,
) -> None:
    meanwhile: list[float] = []

    class Meanwhile(str):
        """As it is looked up, an attempt ends."""

        __slots__ = ()

        def __hash__(self) -> int:
            meanwhile.append(2.0)
            worker.end([ended(waited=2.0)])
            return super().__hash__()

    worker.end([ended(Meanwhile("mails.send"), waited=1.0)])
    worker.notes.count()
    assert worker.waited[0] == 1.0
    worker.notes.count()
    assert worker.waited == [1.0, *meanwhile]
