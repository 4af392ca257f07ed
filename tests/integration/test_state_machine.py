"""Each statement that changes a state, from each state: it leads where `ALLOWED` says, or nowhere.

Where it leads nowhere it leaves the whole row as it was, and notes no error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import TextClause, text

from tests.statements import NAMES, clause
from uow import Database, TaskState
from uow.db.fragments import QUARANTINE_DEATHS, UNSETTLED
from uow.db.transitions import ALLOWED

DEAD = "dead:1:abc"
ATTEMPT = 3

PUT = """
INSERT INTO task (id, name, state, ended, attempt, tries, worker, deaths, alone, run_at,
                  dispatch_at, started_at, settled_at, expires_at)
VALUES (:id, 'x', :state, :ended, :attempt, 1, :worker, :deaths, :alone,
        now() + make_interval(secs => :due), now() + make_interval(secs => :dispatch), now(),
        CASE WHEN :settled THEN now() END, CASE WHEN :settled THEN now() + interval '1 day' END)
"""

ERROR = {"error_type": "ValueError", "message": "no good", "traceback": "Traceback …"}
KEPT = {"retention": 60.0}
BACK = {"delay": 1.0, "setback": "40P01", "is_stray": False}
DEAD_ONES = {"processes": [DEAD], "calm": 1.0, **KEPT}
STARTER = {"worker": "alive", "take_over": True}


@dataclass(frozen=True)
class Case:
    """A statement, where it leads with these parameters, and what the row is like before."""

    statement: str
    leads_to: TaskState
    parameters: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.statement}-{self.leads_to}"


LEADS = [
    Case("start", TaskState.RUNNING, STARTER),
    Case("succeed", TaskState.SUCCEEDED, {"result": "1", **KEPT}),
    Case("start_many", TaskState.RUNNING, {"worker": "alive"}),
    Case("succeed_many", TaskState.SUCCEEDED, {"results": ["1"], "retentions": [60.0]}),
    Case("fail", TaskState.FAILED, {"state": "failed", "counted": 1, **ERROR, **KEPT}),
    Case("fail", TaskState.CANCELLED, {"state": "cancelled", "counted": 0, **ERROR, **KEPT}),
    Case("retry", TaskState.RETRYING, {"delay": 1.0, **ERROR}),
    Case("hand_back", TaskState.QUEUED, {"state": "queued", **BACK}),
    Case("hand_back", TaskState.SCHEDULED, {"state": "scheduled", **BACK}),
    Case("cancel", TaskState.CANCELLED, KEPT),
    Case("cancel_many", TaskState.CANCELLED, KEPT),
    Case("run_now", TaskState.QUEUED, {}, {"due": 60.0}),
    Case("claim_due_for_dispatch", TaskState.QUEUED, {"limit": 10}),
    Case("rescue", TaskState.QUEUED, DEAD_ONES),
    Case(
        "rescue", TaskState.FAILED, DEAD_ONES,
        {"deaths": QUARANTINE_DEATHS - 1, "alone": True},
    ),
    Case("retry_settled", TaskState.QUEUED),
    Case("retry_settled_many", TaskState.QUEUED),
]  # fmt: skip

REFUSED = [
    ("not due", Case("start", TaskState.RUNNING, STARTER, {"due": 60.0})),
    ("not due", Case("start_many", TaskState.RUNNING, {"worker": "alive"}, {"due": 60.0})),
    *(
        ("another attempt", Case(c.statement, c.leads_to, {**c.parameters, "attempt": ATTEMPT - 1}))
        for c in LEADS
        if c.statement in ("fail", "retry", "hand_back")
    ),
    ("due already", Case("run_now", TaskState.QUEUED)),
    ("announced", Case("claim_due_for_dispatch", TaskState.QUEUED, {"limit": 1}, {"dispatch": 1})),
    ("another process", Case("rescue", TaskState.QUEUED, {**DEAD_ONES, "processes": ["alive"]})),
    ("no process", Case("rescue", TaskState.QUEUED, DEAD_ONES,
                        {"worker": None})),
]  # fmt: skip

GUARD = f"AND {UNSETTLED}"

CHANGES_STATE = re.compile(
    r"UPDATE \S+\.task\b(?: AS task)?\s+SET ((?!\bWHERE\b|\bFROM\b).)*\bstate = ", re.DOTALL
)

GUARDS = {
    "start": GUARD,
    "succeed": GUARD,
    "start_many": GUARD,
    "succeed_many": GUARD,
    "fail": GUARD,
    "retry": GUARD,
    "hand_back": GUARD,
    "cancel": GUARD,
    "cancel_many": GUARD,
    "run_now": "state IN ('scheduled', 'queued', 'retrying') AND",
    "claim_due_for_dispatch": "settled_at IS NULL AND",
    "rescue": "state = 'running' AND",
    "retry_settled": "state IN ('failed', 'cancelled') AND",
    "retry_settled_many": "state IN ('failed', 'cancelled') AND",
}


@pytest.fixture(autouse=True)
async def _a_dead_process(db: Database) -> None:
    await db.execute_once(
        text("INSERT INTO worker_process (id, queue, running) VALUES (:id, 'arq:queue', '{}')"),
        {"id": DEAD},
    )


async def put(db: Database, state: TaskState, columns: Mapping[str, Any]) -> UUID:
    """A row in that state, as it could be there."""
    values = {
        "id": uuid4(), "state": state, "attempt": ATTEMPT, "worker": DEAD, "deaths": 0,
        "alone": False, "due": -1.0, "dispatch": -1.0, "settled": state.settled,
        "ended": ended(state), **columns,
    }  # fmt: skip
    await db.execute_once(text(PUT), values)
    return UUID(str(values["id"]))


def ended(state: str) -> str | None:
    """What `ended` is to say of a task in that state."""
    return str(state) if state in (TaskState.FAILED, TaskState.CANCELLED) else None


async def look(db: Database, task_id: UUID) -> dict[str, Any]:
    """The row, and how many errors are noted."""
    row = await db.execute_once(
        text("SELECT *, (SELECT count(*) FROM task_error WHERE task_id = :id) AS errors "
             "FROM task WHERE id = :id"),
        {"id": task_id},
    )  # fmt: skip
    return dict(row.mappings().one())


async def run(
    db: Database, statement: TextClause, case: Case, state: TaskState
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the statement on a row in `state`; returns the row before and after."""
    task_id = await put(db, state, case.row)
    before = await look(db, task_id)
    given = {"id": task_id, "ids": [task_id], "attempt": ATTEMPT, **case.parameters}
    await db.execute_once(statement, {k: v for k, v in given.items() if f":{k}" in statement.text})
    after = await look(db, task_id)
    await db.execute_once(text("DELETE FROM task"), {})
    return before, after


async def check(db: Database, statement: TextClause, case: Case) -> None:
    """From every state, `statement` leads where `ALLOWED` says."""
    for state in TaskState:
        before, after = await run(db, statement, case, state)
        if state in ALLOWED[case.statement]:
            assert after["state"] in ALLOWED[case.statement][state], state
            assert after["state"] == case.leads_to, state
            assert after["ended"] == ended(case.leads_to), state
        else:
            if case.statement == "claim_due_for_dispatch" and not state.settled:
                before["dispatch_at"] = after["dispatch_at"]  # whatever its state, it is pushed
            assert after == before, state


def without(statement: TextClause, guard: str) -> TextClause:
    """The statement without its guard."""
    assert guard in statement.text
    mutated = statement.text.replace(guard, "")
    typed = [bind for name, bind in statement._bindparams.items() if f":{name}" in mutated]
    return text(mutated).bindparams(*typed)


@pytest.mark.parametrize("case", LEADS, ids=str)
async def test_a_statement_leads_where_it_is_allowed_to_and_else_changes_nothing(
    db: Database, case: Case
) -> None:
    """And `ended` says so, too: of what has failed or was cancelled, until somebody asks for it."""
    await check(db, clause(db, case.statement), case)


@pytest.mark.parametrize(("why", "case"), REFUSED, ids=lambda value: str(value))
async def test_a_guard_that_does_not_hold_changes_nothing(
    db: Database, why: str, case: Case
) -> None:
    for state in TaskState:
        before, after = await run(db, clause(db, case.statement), case, state)
        assert after == before, (why, state)


async def test_what_runs_already_is_started_again_only_on_purpose(db: Database) -> None:
    unasked = Case("start", TaskState.RUNNING, {**STARTER, "take_over": False})
    before, after = await run(db, clause(db, "start"), unasked, TaskState.RUNNING)
    assert after == before


@pytest.mark.parametrize("statement", GUARDS)
async def test_a_statement_without_its_guard_is_noticed(db: Database, statement: str) -> None:
    """The check above is worth something: it, or the table itself, finds each missing guard."""
    (case, *_) = (case for case in LEADS if case.statement == statement)
    mutant = without(clause(db, statement), GUARDS[statement])
    with pytest.raises((AssertionError, asyncpg.IntegrityConstraintViolationError)):
        await check(db, mutant, case)


def test_every_transition_is_checked(db: Database) -> None:
    transitions = {name for name in NAMES if CHANGES_STATE.search(clause(db, name).text)}
    assert set(ALLOWED) == transitions == set(GUARDS) == {case.statement for case in LEADS}
    for statement, arrows in ALLOWED.items():
        checked = {case.leads_to for case in LEADS if case.statement == statement}
        assert checked == frozenset().union(*arrows.values()), statement


def test_only_somebody_who_asks_brings_a_settled_task_back() -> None:
    for statement, arrows in ALLOWED.items():
        settled = {state for state in arrows if state.settled}
        asked_for = statement in ("retry_settled", "retry_settled_many")
        assert settled == ({TaskState.FAILED, TaskState.CANCELLED} if asked_for else set())
