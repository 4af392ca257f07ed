"""The command line: ``worker``."""

from worker.cli import commands, cron, proofs, queue
from worker.cli.app import app

__all__ = ["app", "commands", "cron", "proofs", "queue"]
