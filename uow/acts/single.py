"""An act on one task: the guarded change and its audit row in one transaction; then Redis is told.

Whoever decides at the same time, an attempt included, either came first or finds it decided.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from uow.acts.actor import Actor
from uow.acts.editing import Editing
from uow.acts.following import ActFollowing
from uow.acts.kinds import Act, CancelAct, DeleteAct, DoneTo, PriorityAct, RetryAct, RunNowAct
from uow.acts.left import LeftAlone, Why
from uow.acts.named import ActName, act_of
from uow.acts.noted import entry, note
from uow.client import TaskClient
from uow.db import acts
from uow.db.failures import PASSING, sqlstate
from uow.db.statement import Statements
from uow.questions.redaction import Redaction
from uow.tasks.interventions import RACES, TAKEN
from uow.tasks.registry import Registry


class Acts:
    """Acts on single tasks. Each answers what was left alone and why; None: it is done.

    Args:
        client: An open client.
        registry: The task functions against which edited arguments are checked.
        redaction: What the audit does not keep of arguments.
    """

    def __init__(
        self,
        client: TaskClient,
        registry: Registry,
        redaction: Redaction,
    ) -> None:
        self._client = client
        self._retention = client.settings.retention
        self._editing = Editing(registry, client.settings.max_payload_bytes, redaction)
        self._following = ActFollowing.of(client)

    async def cancel(self, task_id: UUID, by: Actor, reason: str | None = None) -> LeftAlone | None:
        """Settle a task as cancelled, at once and for good."""
        return await self._do(CancelAct(self._retention), task_id, by, reason)

    async def retry(
        self,
        task_id: UUID,
        by: Actor,
        reason: str | None = None,
        *,
        args: Mapping[str, Any] | None = None,
    ) -> LeftAlone | None:
        """Run a failed or cancelled task again, with all its tries.

        Args:
            args: Run it with these arguments; the old ones stay in the audit, redacted.

        Raises:
            InvalidArguments: They do not fit the task function.
            UnknownTask: The function is not known here, so they cannot be checked.
            PayloadTooLarge: They are.
        """
        return await self._do(RetryAct(), task_id, by, reason, args)

    async def run_now(
        self, task_id: UUID, by: Actor, reason: str | None = None
    ) -> LeftAlone | None:
        """Let a scheduled or retrying task be due."""
        return await self._do(RunNowAct(), task_id, by, reason)

    async def set_priority(
        self, task_id: UUID, priority: int, by: Actor, reason: str | None = None
    ) -> LeftAlone | None:
        """Give an unsettled task another priority.

        Raises:
            InvalidOptions: There is no such priority.
        """
        return await self._do(PriorityAct(priority), task_id, by, reason)

    async def delete(self, task_id: UUID, by: Actor, reason: str | None = None) -> LeftAlone | None:
        """Remove a settled task.

        Raises:
            RedisError, OSError: Redis is away; it is asked whether the job is still there.
        """
        return await self._do(DeleteAct(self._client.redis), task_id, by, reason)

    async def named(
        self,
        name: ActName,
        task_id: UUID,
        by: Actor,
        reason: str | None = None,
        *,
        options: Mapping[str, int] | None = None,
    ) -> LeftAlone | None:
        """The act of that name, as forms and commands have it.

        Raises:
            InvalidOptions: There is no such act, or its options do not fit.
        """
        act = act_of(name, options or {}, self._client.redis, self._retention)
        return await self._do(act, task_id, by, reason)

    async def _do(
        self,
        act: Act,
        task_id: UUID,
        by: Actor,
        reason: str | None,
        args: Mapping[str, Any] | None = None,
    ) -> LeftAlone | None:
        done = await self._commit(act, task_id, by, reason, args)
        if done.ids:
            await act.follow(done, self._following)
            return None
        async with self._client.db.transaction() as transaction:
            await acts.go_by_key(transaction)
            return (await left_alone(transaction, act, [task_id], done.left))[0]

    async def _commit(
        self,
        act: Act,
        task_id: UUID,
        by: Actor,
        reason: str | None,
        args: Mapping[str, Any] | None,
    ) -> DoneTo:
        for race in range(RACES):
            try:
                async with self._client.db.transaction() as transaction:
                    await acts.go_by_key(transaction)
                    edited = await self._editing.check(transaction, task_id, args)
                    done = await act.do(transaction, [task_id])
                    if done.ids:
                        noted = entry(act, by, task_id=task_id, reason=reason)
                        number = await note(transaction, by, noted)
                        await self._editing.write(transaction, task_id, number, edited)
                return done
            except PASSING as error:
                # A key was taken between the look at it and the write: the next look finds that.
                if sqlstate(error) != TAKEN or race == RACES - 1:
                    raise
        raise AssertionError("the last race returns or raises")


async def left_alone(
    db: Statements, act: Act, ids: Sequence[UUID], known: Mapping[UUID, Why]
) -> list[LeftAlone]:
    """Why tasks were left alone by an act.

    Args:
        known: What their rows do not say.
    """
    found = {one.id: one for one in await acts.standings(db, ids)}
    left = []
    for id_ in ids:
        standing = found.get(id_)
        why = Why.NOT_THERE if standing is None else act.why(standing)
        if why is Why.CHANGED:  # as far as its row says
            why = known.get(id_, why)
        left.append(LeftAlone.of(id_, why, standing))
    return left
