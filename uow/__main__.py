"""``python -m uow`` and the console script ``worker``."""

import sys


def main() -> None:
    """Run the command line, or say which extra it needs."""
    if sys.argv[1:2] == ["run"]:
        from uow.process.signals import (
            end_at_once,  # before all else: the other imports take a second
        )

        end_at_once()
    if sys.argv[1:2] == ["check"]:
        from uow.process.check import check, question  # the others would take most of its time

        if (asked := question(sys.argv[2:])) is not None:
            sys.exit(check(asked))
    try:
        from uow.cli import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("uow"):
            raise
        sys.exit(f"worker: {error.name} is not installed: pip install 'uow-worker[run]'")
    app()


if __name__ == "__main__":
    main()
