"""A worker is killed with something of the user's around its tasks: once is once."""

import pytest

from tests.conformance.conftest import House, effects_of, wait_until_running
from uow import TaskState

MODULES = "tests.conformance.surrounded_tasks"


async def test_in_a_middleware_that_has_called_the_function_all_of_it_runs_again_and_once(
    house: House,
) -> None:
    killed = await house.start_worker(WORKER_TASK_MODULES=MODULES)
    handle = await house.client.enqueue("surrounded", gate=str(house.gate))
    await wait_until_running(house.client, handle.id)
    killed.kill9()
    await house.start_worker(WORKER_TASK_MODULES=MODULES)
    await handle.result(20)
    assert await effects_of(house.db) == ["after", "before", "function"]


@pytest.mark.parametrize("effect", [True, False], ids=["by itself", "in a group"])
async def test_while_callbacks_wait_after_the_commit_nothing_runs_again(
    house: House, effect: bool
) -> None:
    killed = await house.start_worker(WORKER_TASK_MODULES=MODULES)
    handle = await house.client.enqueue("called.back", gate=str(house.gate), effect=effect)
    await handle.result(20)
    killed.kill9()
    await house.start_worker(WORKER_TASK_MODULES=MODULES)
    house.gate.touch()
    after = await house.client.enqueue("called.back", gate=str(house.gate), effect=False)
    await after.result(20)
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.state, view.attempt) == (TaskState.SUCCEEDED, 1)
    assert await effects_of(house.db) == ["function"] * effect
