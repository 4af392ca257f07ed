"""Enqueue a task, see what became of it, cancel it, and let it run again."""

from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response

from uow.api.deps import ClientDep, QueuesDep, RegistryDep, SessionDep
from uow.api.schemas import Enqueued, NewTask, Retried, RetryFilter, Task
from uow.client import TaskClient
from uow.errors import InvalidOptions, UnknownTask

router = APIRouter(prefix="/tasks", tags=["tasks"])


@router.post("", status_code=202)
async def enqueue_task(
    new: NewTask,
    registry: RegistryDep,
    queues: QueuesDep,
    session: SessionDep,
    client: ClientDep,
    request: Request,
    response: Response,
) -> Enqueued:
    """Enqueue a task: once this is answered, it will run.

    A task that is `durable=False` is pushed to Redis instead; it has no row, so no `Location`. Its
    queue is one that the service knows: a setting or a task function names it.
    """
    function = registry.get(new.name)
    if function is None:
        raise UnknownTask(registry.no_such(new.name))
    if new.queue is not None and new.queue not in queues:
        known = ", ".join(sorted(queues))
        raise InvalidOptions(f"{new.name}: there is no queue {new.queue!r} here; there are {known}")
    configured = function.options(**new.options)
    if not function.durable:
        return Enqueued.model_validate(await client.enqueue(configured, **new.args))
    handle = await configured.enqueue(session, **new.args)
    response.headers["Location"] = f"{_path_of(request)}/{handle.id}"
    return Enqueued.model_validate(handle)


@router.get("/{task_id}")
async def get_task(task_id: UUID, client: ClientDep) -> Task:
    """Everything about one task."""
    task = await client.get(task_id)
    if task is None:
        raise _not_found(task_id)
    return Task.model_validate(task)


@router.post("/{task_id}/cancel", status_code=204)
async def cancel_task(task_id: UUID, client: ClientDep) -> None:
    """Cancel a task, at once and for good. A conflict if it is settled already."""
    if not await client.cancel(task_id):
        raise await _conflict(client, task_id, "only an unsettled task can be cancelled")


@router.post("/{task_id}/retry", status_code=204)
async def retry_task(task_id: UUID, client: ClientDep) -> None:
    """Run a task again. A conflict unless it failed or was cancelled and its unique key is free."""
    if not await client.retry(task_id):
        raise await _conflict(client, task_id, "only a failed or cancelled task can run again")


@router.post("/retry")
async def retry_tasks(which: RetryFilter, client: ClientDep) -> Retried:
    """Run failed tasks again. To mean every failed task, say so: `{"state": "failed"}`."""
    return Retried(retried=await client.retry_many(**which.model_dump()))


def _path_of(request: Request) -> str:
    """As the client has written it: with what a proxy, or the app around, has put before ours."""
    root: str = request.scope.get("root_path", "")
    path: str = request.scope["path"]
    return (path if path.startswith(root) else f"{root}{path}").rstrip("/")


def _not_found(task_id: UUID) -> HTTPException:
    return HTTPException(404, f"Task id {task_id} not found")


async def _conflict(client: TaskClient, task_id: UUID, rule: str) -> HTTPException:
    ending = await client.ending(task_id)
    if ending is None:
        return _not_found(task_id)
    return HTTPException(409, f"Task id {task_id} is {ending.state}: {rule}")
