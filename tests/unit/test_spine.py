"""Who listens is called in order; who fails is told of, and changes nothing."""

from collections.abc import Sequence

import pytest

from uow.events import Event, WorkerStopped
from uow.events.spine import Spine

FIRST, SECOND = WorkerStopped(worker="a"), WorkerStopped(worker="b")


def test_listeners_are_called_in_the_order_in_which_they_came() -> None:
    spine, heard = Spine(), list[object]()
    spine.listen(lambda event: heard.append(("one", event.worker)), WorkerStopped)
    spine.listen_to_batches(lambda events: heard.append([e.worker for e in events]), WorkerStopped)
    spine.emit_all([FIRST, SECOND])
    assert heard == [("one", "a"), ("one", "b"), ["a", "b"]]


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit])
def test_one_that_fails_is_logged_once_and_the_others_are_called(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    spine, heard = Spine(), list[Event]()

    def broken(event: Event) -> None:
        raise error("broken")

    spine.listen(broken, WorkerStopped)
    spine.listen(heard.append, WorkerStopped)
    spine.emit_all([FIRST, SECOND])
    spine.emit(FIRST)
    assert heard == [FIRST, SECOND, FIRST]
    (record,) = caplog.records
    assert "broken, which listens to WorkerStopped, has failed" in record.getMessage()


def test_an_interrupt_from_the_keyboard_is_for_the_process() -> None:
    spine = Spine()

    def interrupted(_: Sequence[Event]) -> None:
        raise KeyboardInterrupt

    spine.listen_to_batches(interrupted, WorkerStopped)
    with pytest.raises(KeyboardInterrupt):
        spine.emit(FIRST)


def test_a_copy_hears_the_same_and_more() -> None:
    spine, heard = Spine(), list[str]()
    spine.listen(lambda _: heard.append("both"), WorkerStopped)
    copied = spine.copy()
    copied.listen(lambda _: heard.append("copy"), WorkerStopped)
    spine.emit(FIRST)
    copied.emit(FIRST)
    assert heard == ["both", "both", "copy"]
