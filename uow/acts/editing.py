"""Other arguments for a task that is to run again: checked first, and the old ones are kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from uow.broker import codec
from uow.db import acts, audit
from uow.db.statement import Statements
from uow.errors import UnknownTask
from uow.questions.redaction import Redaction
from uow.tasks.registry import Registry


@dataclass(frozen=True, slots=True)
class Edit:
    """Arguments, as JSON: what they are to be, and what they were, redacted."""

    new: str
    old: str


class Editing:
    """Checks edited arguments against the task function, and writes them.

    Args:
        limit: Bytes of arguments at most.
        redaction: What the audit does not keep of the old ones.
    """

    def __init__(self, registry: Registry, limit: int, redaction: Redaction) -> None:
        self._redaction = redaction
        self._registry = registry
        self._limit = limit

    async def check(
        self, db: Statements, task_id: UUID, args: Mapping[str, Any] | None
    ) -> Edit | None:
        """Keep the task as it is until the transaction's end; None: nothing is to be edited.

        Raises:
            InvalidArguments, UnknownTask, PayloadTooLarge: As `Acts.retry`.
        """
        if args is None:
            return None
        ended = await acts.lock_ended(db, task_id)
        if ended is None:
            return None
        old = json.dumps(self._redaction.arguments(ended.name, json.loads(ended.args)))
        return Edit(self._encoded(ended.name, args), old)

    async def write(self, db: Statements, task_id: UUID, number: int, edit: Edit | None) -> None:
        """Edit the arguments, in the same transaction, and keep the old ones with the audit."""
        if edit is not None:
            await acts.edit_arguments(db, task_id, edit.new)
            await audit.keep_arguments(db, number, task_id, edit.old)

    def _encoded(self, name: str, args: Mapping[str, Any]) -> str:
        function = self._registry.get(name)
        if function is None:
            raise UnknownTask(
                f"the arguments cannot be checked: {self._registry.no_such(name)}. Edit them where "
                "the function is known, as with its module in WORKER_TASK_MODULES"
            )
        written = function.signature.encode_arguments(args)
        codec.check_size(written, self._limit)
        return written.decode()
