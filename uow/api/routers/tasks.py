"""Enqueue a task, see what became of it, cancel it, and let it run again."""

from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response

from uow.acts.left import Why
from uow.acts.matching import MatchingRetry
from uow.api.access import CallerDep
from uow.api.actor import ActorDep
from uow.api.deps import ClientDep, QueuesDep, RedactionDep, RegistryDep, SessionDep
from uow.api.once import AnsweringRoute
from uow.api.roles import Role
from uow.api.routers.acts import ActsDep
from uow.api.schemas import Enqueued, NewTask, Retried, RetryFilter, Task
from uow.client import TaskClient
from uow.errors import InvalidOptions, UniqueKeyTaken, UnknownTask
from uow.tasks.interventions import Filter

router = APIRouter(prefix="/tasks", tags=["tasks"], route_class=AnsweringRoute)


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
async def get_task(
    task_id: UUID, client: ClientDep, caller: CallerDep, redaction: RedactionDep
) -> Task:
    """Everything about one task; what is redacted is shown to admins alone."""
    task = await client.get(task_id)
    if task is None:
        raise _not_found(task_id)
    return Task.model_validate(task if caller.may(Role.ADMIN) else redaction.task(task))


@router.post("/{task_id}/cancel", status_code=204)
async def cancel_task(task_id: UUID, client: ClientDep, acts: ActsDep, by: ActorDep) -> None:
    """Cancel a task, at once and for good. A conflict if it is settled already."""
    if await acts.cancel(task_id, by) is not None:
        raise await _conflict(client, task_id, "only an unsettled task can be cancelled")


@router.post("/{task_id}/retry", status_code=204)
async def retry_task(task_id: UUID, client: ClientDep, acts: ActsDep, by: ActorDep) -> None:
    """Run a task again. A conflict unless it failed or was cancelled and its unique key is free."""
    left = await acts.retry(task_id, by)
    if left is not None and left.why is Why.KEY_TAKEN:
        raise UniqueKeyTaken(f"task {task_id} cannot run again: {left.text}")
    if left is not None:
        raise await _conflict(client, task_id, "only a failed or cancelled task can run again")


@router.post("/retry")
async def retry_tasks(which: RetryFilter, client: ClientDep, by: ActorDep) -> Retried:
    """Run failed tasks again. To mean every failed task, say so: `{"state": "failed"}`."""
    values = which.model_dump()
    user = values["user_id"]
    meant = Filter(**{**values, "user_id": None if user is None else str(user)})
    return Retried(retried=await MatchingRetry(client, meant, by).run())


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
