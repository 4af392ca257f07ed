"""The command line: ``worker``."""

from uow.cli import commands, cron, groups, proofs, queue, tokens
from uow.cli.app import app

__all__ = ["app", "commands", "cron", "groups", "proofs", "queue", "tokens"]
