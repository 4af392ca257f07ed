"""Enqueue a task, and see what became of it."""

from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response

from worker.api.deps import ClientDep, RegistryDep, SessionDep
from worker.api.schemas import Enqueued, NewTask, Task
from worker.errors import UnknownTask

router = APIRouter(prefix="/tasks", tags=["tasks"])


@router.post("", status_code=202)
async def enqueue_task(
    new: NewTask,
    registry: RegistryDep,
    session: SessionDep,
    client: ClientDep,
    request: Request,
    response: Response,
) -> Enqueued:
    """Enqueue a task: once this is answered, it will run.

    A task that is `durable=False` is pushed to Redis instead; it has no row, so no `Location`.
    """
    function = registry.get(new.name)
    if function is None:
        raise UnknownTask(registry.no_such(new.name))
    configured = function.options(**new.options)
    if not function.durable:
        return Enqueued.model_validate(await client.enqueue(configured, **new.args))
    handle = await configured.enqueue(session, **new.args)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/tasks/{handle.id}"
    return Enqueued.model_validate(handle)


@router.get("/{task_id}")
async def get_task(task_id: UUID, client: ClientDep) -> Task:
    """Everything about one task."""
    task = await client.get(task_id)
    if task is None:
        raise HTTPException(404, f"Task id {task_id} not found")
    return Task.model_validate(task)
