"""The command line: ``worker``."""

from worker.cli import commands, proofs
from worker.cli.app import app

__all__ = ["app", "commands", "proofs"]
