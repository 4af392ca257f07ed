"""The command line: ``worker``."""

from uow.cli import commands, cron, doctor, groups, proofs, queue
from uow.cli.app import app

__all__ = ["app", "commands", "cron", "doctor", "groups", "proofs", "queue"]
