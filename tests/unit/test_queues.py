"""Queues with weights, as they are written."""

import pytest

from worker.queues import weights_of


def test_a_queue_without_a_weight_has_the_weight_1() -> None:
    assert weights_of(["high=3", "arq:queue", "low=0.5"]) == {
        "high": 3.0, "arq:queue": 1.0, "low": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("queue", ["", "=3", "high=0", "high=-1", "high=much", "high=inf", "a=nan"])
def test_what_is_no_queue_with_a_weight_is_refused_by_name(queue: str) -> None:
    with pytest.raises(ValueError, match="as name=weight") as refusal:
        weights_of([queue])
    assert repr(queue) in str(refusal.value)
