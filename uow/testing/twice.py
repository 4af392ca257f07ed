"""Runs a task, lets its worker die wherever it can, runs it again, and compares the effects."""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from uow.client import TaskClient
from uow.tasks.enqueue import Enqueueable
from uow.testing.errors import Crashed
from uow.testing.growth import differences, growth_of
from uow.testing.outer import OuterTransaction
from uow.testing.rowless import RowlessJobs
from uow.testing.rows import EnqueuedTask, Rows
from uow.testing.runner import Ran, Runner
from uow.testing.troubles import DEATHS, before_block

Effects = Callable[[], Any]
"""What has happened so far; may be a coroutine function."""

MOST_RUNS = 10
"""Attempts of a task until it is settled."""

_TABLES = """
    SELECT format('%I.%I', nspname, relname)
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relpersistence <> 't'
      AND nspname NOT IN ('pg_catalog', 'information_schema', $1)
      AND has_table_privilege(pg_class.oid, 'select')
    ORDER BY 1"""

AGAIN = "the worker dies when the task has run, and it is delivered again"
"""All that a rowless task may meet: it has no row that could tell."""


class Twice:
    """One call of `run_twice`.

    Args:
        effects: What has happened so far; None: rows of tables, and tasks by name.
        before: Called before each run.
    """

    def __init__(
        self,
        runner: Runner,
        outer: OuterTransaction,
        client: TaskClient,
        rowless: RowlessJobs,
        effects: Effects | None,
        before: Callable[[], object] | None,
    ) -> None:
        self._runner = runner
        self._outer = outer
        self._client = client
        self._rowless = rowless
        self._effects = effects or self._counts
        self._before = before
        self._tables: list[str] | None = None
        self._blocks = 0  # that commit by themselves, in the longest attempt

    async def run(
        self, f: Enqueueable[Any, Any], arguments: Mapping[str, object], *, durable: bool
    ) -> list[str]:
        """Run it once, and once for each death; returns where its worker died.

        Raises:
            AssertionError: The effects differ.
        """
        once = await self._effects_of(f, arguments, None)
        blocks = range(1, self._blocks + 1)
        deaths = [*DEATHS, *map(before_block, blocks)] if durable else [AGAIN]
        said: list[str] = []
        for death in deaths:
            again = await self._effects_of(f, arguments, death)
            if found := differences(once, again):
                said += [f"  {death}:", *(f"    {line}" for line in found)]
        if said:
            raise AssertionError("\n".join(["it is not as if it had run once, when", *said]))
        return deaths

    async def _effects_of(
        self, f: Enqueueable[Any, Any], arguments: Mapping[str, object], death: str | None
    ) -> Any:
        async with self._outer.undone():
            with self._rowless.undone():
                return await self._growth(f, arguments, death)

    async def _growth(
        self, f: Enqueueable[Any, Any], arguments: Mapping[str, object], death: str | None
    ) -> Any:
        if self._before is not None:
            await _awaited(self._before())
        earlier = await self._so_far()
        handle = await self._client.enqueue(f, **arguments)
        ended = await self._to_the_end(handle.id, death)
        return {"the task": ended, "effects": growth_of(earlier, await self._so_far())}

    async def _so_far(self) -> Any:
        return copy.deepcopy(await _awaited(self._effects()))  # it may be the same list each time

    async def _to_the_end(self, task_id: UUID, death: str | None) -> str:
        kept = next((one for one in self._rowless.known if one.id == task_id), None)
        if kept is not None:
            return await self._rowless_to_the_end(kept, times=1 if death is None else 2)
        self._runner.troubles.next = death
        rows, ran = Rows(), None
        for _ in range(MOST_RUNS):
            await rows.refresh(self._runner.db)
            task = next(one for one in rows.known if one.id == task_id)
            if task.settled:
                await self._attempt(task)  # its job comes once more: nobody has finished it
                break
            ran = await self._attempt(task)
        if death is None and ran is not None:
            ran.result()  # it has to do well by itself
        return f"ended as {task.state}"

    async def _attempt(self, task: EnqueuedTask) -> Ran | None:
        try:
            return await self._runner.attempt(task)
        except Crashed:
            return None
        finally:
            self._blocks = max(self._blocks, self._runner.troubles.blocks)

    async def _rowless_to_the_end(self, task: EnqueuedTask, times: int) -> str:
        for _ in range(times):
            await self._runner.attempt_rowless(task, self._rowless)
        return "ended"

    async def _counts(self) -> dict[str, Any]:
        """How many rows are in each table that is not ours, and how many tasks of each name."""
        schema = self._runner.db.schema
        if self._tables is None:
            found = await self._outer.fetch(_TABLES, [schema])
            self._tables = [name for (name,) in found]
        counts = [f"SELECT {_literal(one)}, count(*) FROM {one}" for one in self._tables]  # noqa: S608
        tasks = f"""SELECT 'task ' || name, count(*) FROM "{schema}".task
                    WHERE created_at = now() GROUP BY name"""  # noqa: S608
        return dict(await self._outer.fetch(" UNION ALL ".join([*counts, tasks])))


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
