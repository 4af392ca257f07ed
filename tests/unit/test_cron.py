"""`@cron`: what is wrong fails at import, with the expression and the reason."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from uow import TaskContext, TaskFunction, cron, schedule, task
from uow.errors import InvalidSchedule
from uow.schedules.cron import ScheduleDefinition, schedules_of
from uow.tasks.registry import Registry


def function(registry: Registry | None = None, **options: Any) -> TaskFunction[..., Any]:
    @task("reports.send", registry=registry or Registry(), **options)
    async def send(ctx: TaskContext, kind: str = "short", pages: int = 1) -> None: ...

    return send


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"expression": "61 * * * *"}, r"reports\.send: '61 \* \* \* \*' .*: bad minute"),
        ({"expression": "0 9 * *"}, "'0 9 \\* \\*' .* 4 fields"),
        ({"expression": "0 9 * * *", "timezone": "Europe/Berln"}, "time zone 'Europe/Berln'"),
        ({}, "either an expression or every"),
        ({"expression": "@daily", "every": timedelta(hours=1)}, "either an expression or every"),
        ({"every": timedelta(seconds=0.1)}, "whole number of seconds"),
        ({"every": 5}, "every=5 is not a whole number of seconds"),
        ({"expression": "@daily", "jitter": "x"}, "reports.send: could not convert"),
        ({"expression": "@daily", "missed": "sometimes"}, "missed='sometimes' is not one of"),
        ({"expression": "@daily", "overlap": "maybe"}, "overlap='maybe' is not one of"),
        ({"expression": "@daily", "grace": -1}, "grace=-1.0 is not from 0 s"),
        ({"expression": "@daily", "jitter": -1}, "jitter=-1.0"),
        ({"expression": "@daily", "name": ""}, "give name="),
        ({"expression": "@daily", "arguments": {"kind": "x" * 600}}, "give name="),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSchedule, match=reason):
        cron(**values)(function())


def test_it_stands_above_the_task_decorator() -> None:
    async def plain(ctx: TaskContext) -> None: ...

    with pytest.raises(InvalidSchedule, match="stands above @task"):
        cron("@daily")(plain)  # type: ignore[arg-type]


def test_a_task_without_a_row_has_no_ticks() -> None:
    with pytest.raises(InvalidSchedule, match="durable=False"):
        cron("@daily")(function(durable=False))


def test_several_schedules_of_one_function_are_told_apart_by_their_arguments() -> None:
    send = function()
    cron("0 9 * * *", arguments={"kind": "short"})(send)
    cron("0 9 * * mon", arguments={"kind": "long", "pages": 9})(send)
    cron("@hourly")(send)
    names = ["reports.send(kind=short)", "reports.send(kind=long,pages=9)", "reports.send"]
    assert [schedule.name for schedule in send.schedules] == names
    with pytest.raises(InvalidSchedule, match="two schedules are called reports.send: give"):
        cron("@daily")(send)
    cron("@daily", name="nightly report")(send)


def test_two_functions_may_not_share_a_name() -> None:
    registry = Registry()
    cron("@daily", name="nightly")(function(registry))

    @cron("@daily", name="nightly")
    @task("other", registry=registry)
    async def other(ctx: TaskContext) -> None: ...

    with pytest.raises(InvalidSchedule, match=r"nightly, of reports\.send and other"):
        registry.load(())


def test_arguments_that_do_not_fit_are_refused() -> None:
    send = cron("@daily", arguments={"pages": "many"})(function())
    with pytest.raises(InvalidSchedule, match="pages"):
        schedules_of([send])[0].definition("q")


def test_a_definition_survives_its_row_and_ignores_what_a_newer_one_knows() -> None:
    send = cron("@daily", timezone="Asia/Tokyo", missed="all", jitter=5)(function(priority=3))
    made = schedules_of([send])[0].definition("slow")
    assert ScheduleDefinition.from_json(made.to_json()) == made
    assert (made.queue, made.priority, made.timezone) == ("slow", 3, "Asia/Tokyo")
    newer = made.to_json().replace("{", '{"colour": "red", ', 1)
    assert ScheduleDefinition.from_json(newer) == made


@pytest.mark.parametrize("queue", ["arq:in-progress:1", "worker:pulse:1", "two\\nlines", ""])
def test_a_definition_whose_queue_would_be_another_key_is_not_understood(queue: str) -> None:
    made = schedules_of([cron("@daily")(function())])[0].definition("slow")
    with pytest.raises(ValueError, match="says something else for queue"):
        ScheduleDefinition.from_json(made.to_json().replace("slow", queue))


def test_jitter_is_spread_and_the_same_for_everybody() -> None:
    send = cron("* * * * *", jitter=timedelta(seconds=30))(function())
    made = schedules_of([send])[0].definition("q")
    first = datetime(2026, 1, 1, tzinfo=UTC)
    ticks = [first + timedelta(minutes=n) for n in range(200)]
    delays = [(made.starts("a", "n", tick) - tick).total_seconds() for tick in ticks]
    assert 0 <= min(delays) < 3
    assert 27 < max(delays) <= 30
    assert delays == [(made.starts("a", "n", tick) - tick).total_seconds() for tick in ticks]
    assert len(set(delays)) > 190


def test_the_decorated_function_is_the_task_function_as_before() -> None:
    send = function()
    assert cron("@daily")(send) is send


def test_a_schedule_that_a_setting_decides_is_what_cron_declares_and_the_function_has_none() -> (
    None
):
    send = function()
    made = schedule(send, "@daily", timezone="Asia/Tokyo", missed="all", jitter=5)
    assert send.schedules == []
    decorated = cron("@daily", timezone="Asia/Tokyo", missed="all", jitter=5)(function())
    (declared,) = schedules_of([decorated])
    assert (made.name, made.task) == (declared.name, send)
    assert made.definition("q") == declared.definition("q")
    every = schedule(send, every=timedelta(minutes=5), arguments={"kind": "long"}, name="often")
    assert (every.name, every.definition("q").expression) == ("often", "@every 300 s")


def test_a_schedule_of_what_is_no_task_function_is_refused() -> None:
    async def plain(ctx: TaskContext) -> None: ...

    with pytest.raises(InvalidSchedule, match="is no task function: it lacks @task"):
        schedule(plain, "@daily")  # type: ignore[arg-type]
    with pytest.raises(InvalidSchedule, match="schedule reports.send: .*daily"):
        schedule(function(), "daily")
