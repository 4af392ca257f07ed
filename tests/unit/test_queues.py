"""What queues may be called, and queues with weights, as they are written."""

import pytest
from typer.testing import CliRunner

from uow.cli import app
from uow.errors import InvalidOptions, SettingsError
from uow.settings.environment import load_settings
from uow.settings.queues import fault_in_name, weights_of
from uow.tasks.options import Options


def test_a_queue_without_a_weight_has_the_weight_1() -> None:
    assert weights_of(["high=3", "arq:queue", "low=0.5"]) == {
        "high": 3.0, "arq:queue": 1.0, "low": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("queue", ["", "=3", "high=0", "high=-1", "high=much", "high=inf", "a=nan"])
def test_what_is_no_queue_with_a_weight_is_refused_by_name(queue: str) -> None:
    with pytest.raises(ValueError, match="as name=weight") as refusal:
        weights_of([queue])
    assert repr(queue) in str(refusal.value)


@pytest.mark.parametrize("name", ["arq:queue", "high", "q" * 512, "a b", "Ä", "worker", "arq:jobs"])
def test_a_queue_may_be_called_so(name: str) -> None:
    assert fault_in_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "", "q" * 513, "a\x00", "a\nb", "a\x7f", "a\u2028b", "\ud800", "worker:pulse:1",
        "arq:job:1", "arq:in-progress:1", "arq:retry:1", "arq:result:1", "arq:abort",
        "arq:queue:health-check",
    ],
)  # fmt: skip
def test_no_queue_is_called_as_another_key_or_has_control_characters(name: str) -> None:
    fault = fault_in_name(name)
    assert fault is not None
    assert fault.isprintable()
    if name:
        with pytest.raises(ValueError, match="name"):
            weights_of([name])
        with pytest.raises(SettingsError, match="WORKER_QUEUE: .*name"):
            load_settings(queue=name)


@pytest.mark.parametrize("name", ["", "a\x00", "a\nb", "a\x85", "a\u2028b", "\ud800", "t" * 513])
def test_what_is_no_name_for_a_queue_is_none_for_a_task(name: str) -> None:
    assert fault_in_name(name) is not None
    with pytest.raises(InvalidOptions, match="is not a name for a task"):
        Options.checked(name, {})


@pytest.mark.parametrize("queue", ["high=x", "high=0", "=2", "arq:job:x"])
def test_a_queue_on_the_command_line_that_is_none_is_one_line_for_an_arq_class_too(
    queue: str,
) -> None:
    ended = CliRunner().invoke(app, ["run", "app.WorkerSettings", "--queue", queue])
    assert ended.exit_code == 1
    assert ended.stderr.startswith("worker: --queue: ")
    assert len(ended.stderr.splitlines()) == 1
