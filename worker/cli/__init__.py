"""The command line: ``worker``."""

from worker.cli import commands, cron, proofs
from worker.cli.app import app

__all__ = ["app", "commands", "cron", "proofs"]
