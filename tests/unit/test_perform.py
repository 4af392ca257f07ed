"""`uow.testing.perform`, and by how much things grow: without any server."""

import asyncio
from functools import partial

import pytest

from uow import Cancel, InvalidArguments, InvalidResult, Retry, Snooze, TaskContext, TaskTimeout
from uow import task as define
from uow.tasks.registry import Registry
from uow.testing import NotAvailable, perform
from uow.testing.growth import differences, growth_of

task = partial(define, registry=Registry())


async def test_arguments_and_result_go_through_json() -> None:
    @task("adds")
    async def adds(ctx: TaskContext, numbers: list[int]) -> dict[str, int]:
        return {"sum": sum(numbers)}

    assert await perform(adds, numbers=[1, 2]) == {"sum": 3}
    with pytest.raises(InvalidArguments, match="numbers"):
        await perform(adds, numbers=["x"])
    with pytest.raises(InvalidArguments, match="more"):
        await perform(adds, numbers=[], more=1)


async def test_a_result_of_another_type_is_told() -> None:
    @task("returns")
    async def returns(ctx: TaskContext) -> int:
        return "no number"  # type: ignore[return-value]

    with pytest.raises(InvalidResult):
        await perform(returns)


@pytest.mark.parametrize("error", [ValueError("no"), Retry(5), Snooze(60), Cancel("done")])
async def test_what_it_raises_comes_out(error: Exception) -> None:
    @task("raises")
    async def raises(ctx: TaskContext) -> None:
        raise error

    with pytest.raises(type(error)):
        await perform(raises)


async def test_the_timeout_holds() -> None:
    @task("sleeps", timeout=0.01)
    async def sleeps(ctx: TaskContext) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TaskTimeout):
        await perform(sleeps)


async def test_a_session_a_redis_and_nothing_else_are_missing() -> None:
    called: list[object] = []

    @task("opens")
    async def opens(ctx: TaskContext) -> None:
        async with ctx["db"].get_session():
            pass

    @task("asks")
    async def asks(ctx: TaskContext) -> None:
        await ctx["redis"].get("key")

    @task("tells")
    async def tells(ctx: TaskContext) -> str:
        await ctx["task"].report(done=1)
        ctx["task"].on_commit(lambda: called.append(ctx["task"].attempt))
        return f"{ctx['http']}, {ctx['job_try']}"  # type: ignore[typeddict-item]

    with pytest.raises(NotAvailable, match='opens opens a session.*the fixture "tasks"'):
        await perform(opens)
    with pytest.raises(Exception, match="there is no Redis in this test"):
        await perform(asks)
    assert await perform(tells, {"http": "a fake"}) == "a fake, 1"
    assert called == [1]


async def test_callbacks_are_not_called_when_it_fails() -> None:
    called: list[object] = []

    @task("fails")
    async def fails(ctx: TaskContext) -> None:
        ctx["task"].on_commit(lambda: called.append(1))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await perform(fails)
    assert called == []


@pytest.mark.parametrize(
    ("earlier", "later", "grown"),
    [
        (1, 3, 2),
        ([1], [1, 2], [2]),
        ({1}, {1, 2}, {2}),
        ({"a": 1}, {"a": 1, "b": 2}, {"b": 2}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [2]}),
        ({"a": 2}, {}, {"a": -2}),
        ("new", "paid", "paid"),
        (False, True, True),
        (None, 1, 1),
    ],
)
def test_what_has_grown(earlier: object, later: object, grown: object) -> None:
    assert growth_of(earlier, later) == grown


def test_differences_are_named() -> None:
    once = {"the task": "ended", "effects": {"a": 1, "b": 1}}
    again = {"the task": "ended", "effects": {"a": 2}}
    assert differences(once, once) == []
    assert differences(once, again) == [
        "a: 2, and 1 when it runs once",
        "b: 0, and 1 when it runs once",
    ]
