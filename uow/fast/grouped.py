"""The completer of our engine: what has nothing else to commit is completed together."""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial

from uow.attempt.attempt import Attempt
from uow.attempt.runtime import Runtime
from uow.attempt.telling import UNWRITTEN, EndedAttempt, tell_ended
from uow.failpoints import reach
from uow.fast import job_log
from uow.fast.engine import Engine
from uow.fast.group_commit import Completion, GroupCommit
from uow.fast.slot import answered
from uow.tasks.outcome import Completed, Outcome
from uow.tasks.retry import decide


class Grouped:
    """Buffers completions; everything else goes one by one.

    Args:
        on_death: Called when the group commit ends by an error of its own.

    Attributes:
        commits: The buffer, a service.
    """

    def __init__(
        self, engine: Engine, runtime: Runtime, on_death: Callable[[BaseException], None] | None
    ) -> None:
        self._engine = engine
        self._runtime = runtime
        self.commits = GroupCommit(runtime.db, self._were_settled, self._refuse, on_death)

    async def complete(self, attempt: Attempt, outcome: Outcome) -> None:
        """Complete it with others, or settle and answer."""
        if isinstance(outcome, Completed) and _has_only_its_row(attempt):
            attempt.held.ends = True
            context = copy_context() if attempt.task.after_commit else None
            self.commits.add(Completion(attempt, outcome, context))
            return
        settled = await attempt.settle(outcome)
        reach("settled")
        if isinstance(settled, Completed) and attempt.is_ours:
            await attempt.runtime.flush_pushes()
            self._was_settled(attempt)
        else:
            await attempt.answer(settled)

    def give_up(self) -> None:
        """Nothing is committed any more: who hears of attempts is told of those that are left."""
        left = self.commits.give_up()
        tell_ended(self._runtime.events, (EndedAttempt(one.attempt, UNWRITTEN) for one in left))

    def _were_settled(self, ours: Sequence[Completion], others: Sequence[Completion]) -> None:
        for completion in ours:
            reach("committed")
            self._was_settled(completion.attempt)
            if completion.context is not None:
                after_commit = completion.attempt.task.after_commit
                self._runtime.callbacks.call(after_commit, completion.context)
        for completion in others:
            self._was_settled(completion.attempt)
        events = self._runtime.events
        tell_ended(events, (EndedAttempt(one.attempt, one.outcome) for one in ours))
        tell_ended(events, (EndedAttempt(one.attempt, None) for one in others))

    def _was_settled(self, attempt: Attempt) -> None:
        self._engine.jobs_complete += 1
        job_log.completed(attempt.delivery, attempt.began, attempt.about)
        self._engine.finish(attempt.held, attempt.held.finish("settled"))

    async def _refuse(self, completion: Completion, error: Exception) -> None:
        """Postgres does not take this one: it has failed by that."""
        attempt = completion.attempt
        attempt.held.ends = False
        runtime, settling = self._runtime, partial(self._fail, attempt, error)
        await answered(self._engine, runtime, attempt.held, attempt.delivery, settling)

    async def _fail(self, attempt: Attempt, error: Exception) -> None:
        assert attempt.function is not None  # noqa: S101 - it has returned
        policy, rng = attempt.function.policy, self._runtime.rng
        settled = await attempt.settle(decide(error, attempt.task.tries, policy, rng))
        await attempt.answer(settled)


def _has_only_its_row(attempt: Attempt) -> bool:
    """Whether nothing but the completion is to be written, and nobody else waits for an answer."""
    # Untouched, so that nothing is left to be undone: the slot is free at once, and what becomes of
    # its job is the group's alone.
    work = attempt.work
    return attempt.is_ours and work.is_untouched and not work.needs_commit
