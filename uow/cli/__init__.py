"""The command line: ``worker``."""

from uow.cli import (
    acts,
    commands,
    cron,
    doctor,
    fleet,
    groups,
    numbers,
    pausing,
    proofs,
    queue,
    tasks,
    tokens,
)
from uow.cli.app import app

__all__ = [
    "acts", "app", "commands", "cron", "doctor", "fleet", "groups", "numbers", "pausing", "proofs",
    "queue", "tasks", "tokens",
]  # fmt: skip
