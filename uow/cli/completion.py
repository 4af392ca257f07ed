"""What a shell completes: the words that an option may have.

For `typer.Option(autocompletion=…)`. Words are written out here, because a shell asks at each key
and the modules that know them take a second to import; a test holds the two against each other.
"""

from collections.abc import Callable

from typer import _completion_classes

_DRAWS = "_sanitize_help_text"

Complete = Callable[[str], list[str]]

STATES = ("scheduled", "queued", "running", "retrying", "succeeded", "failed", "cancelled")


def words(*known: str) -> Complete:
    """Completes one of these words; or several, with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [
            f"{before}{comma}{word}"
            for word in known
            if word.startswith(last) and word not in given
        ]

    return complete


states = words(*STATES)
unique = words("unsettled", "waiting")


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def tell_plainly() -> None:
    """Let descriptions reach zsh and fish as they are.

    Typer has rich draw them, which takes longer than all else, and breaks them at 80 columns: a
    shell takes the second line for another word.
    """
    if hasattr(_completion_classes, _DRAWS):  # of typer's own, so it may go one day
        setattr(_completion_classes, _DRAWS, _on_one_line)
