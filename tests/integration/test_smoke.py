from worker import TaskClient, TaskContext, TaskState, task
from tests.conftest import Drain
from worker.execution.registry import Registry

async def test_a_task_is_enqueued_run_and_remembered(client: TaskClient, drain: Drain, registry: Registry) -> None:
    @task("double", registry=registry)
    async def double(ctx: TaskContext, n: int) -> int:
        return 2 * n

    handle = await client.enqueue(double, n=21)
    await drain()
    assert await handle.result(5) == 42
    assert await handle.status() is TaskState.SUCCEEDED
