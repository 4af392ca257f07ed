"""The command line: ``worker``."""

from uow.cli import commands, cron, groups, numbers, proofs, queue
from uow.cli.app import app

__all__ = ["app", "commands", "cron", "groups", "numbers", "proofs", "queue"]
