"""Which statement may lead from which state where: the state machine, in one place.

    scheduled ──▶ queued ──▶ running ──▶ succeeded
        ▲            ▲          ├──────▶ failed ─────┐
        │            ├──────────┤        cancelled ──┤  (cancelled: from any unsettled state)
        │            │          ├──▶ retrying        │
        └── snoozed ─┴──────────┘                    │
                     ▲                               │
                     └──────── somebody asks ────────┘

Guards: success requires "not settled"; every other outcome requires "not settled and still this
attempt". A statement that returns no row has changed nothing: somebody else has decided.
`ALLOWED` says the same as data; a test holds each statement against it, from every state. The
statements are in `uow.db.attempts`, `outcomes`, `interventions`, `acts`, `delivery` and `rescue`.
"""

from uow.db.models import TaskState

_S = TaskState
_LEFT_BEHIND = frozenset({_S.QUEUED, _S.FAILED})

ALLOWED: dict[str, dict[TaskState, frozenset[TaskState]]] = {
    "start": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.RUNNING})
    ),
    "succeed": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.SUCCEEDED})
    ),
    "start_many": dict.fromkeys((_S.SCHEDULED, _S.QUEUED, _S.RETRYING), frozenset({_S.RUNNING})),
    "succeed_many": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.SUCCEEDED})
    ),
    "fail": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.FAILED, _S.CANCELLED})
    ),
    "retry": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.RETRYING})
    ),
    "hand_back": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.QUEUED, _S.SCHEDULED})
    ),
    "cancel": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.CANCELLED})
    ),
    "cancel_many": dict.fromkeys(
        (_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RETRYING), frozenset({_S.CANCELLED})
    ),
    "run_now": dict.fromkeys((_S.SCHEDULED, _S.QUEUED, _S.RETRYING), frozenset({_S.QUEUED})),
    "claim_due_for_dispatch": {_S.SCHEDULED: frozenset({_S.QUEUED})},
    "rescue": {_S.RUNNING: _LEFT_BEHIND},
    "retry_settled": dict.fromkeys((_S.FAILED, _S.CANCELLED), frozenset({_S.QUEUED})),
    "retry_settled_many": dict.fromkeys((_S.FAILED, _S.CANCELLED), frozenset({_S.QUEUED})),
}
"""From which state a statement leads where; from every other state it leads nowhere."""
